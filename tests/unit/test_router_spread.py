"""The router's table: clients spread over all servers by load."""

from snsnode.router.flapping import HOLD_FIRST_S, RAMP_S
from snsnode.router.offers import LOGIN_WITHIN_S
from snsnode.router.table import (
    ServerState,
)
from tests.table_rig import A, B, C, Router, flap


def test_spread_offers_the_one_with_the_fewest_clients() -> None:
    router = Router("spread")
    router.register(A, clients=5)
    router.register(B, clients=4)
    assert router.offered == B
    router.register(B, clients=6)
    assert router.offered == A
    assert set(router.states().values()) == {ServerState.AVAILABLE}


def test_spread_prefers_any_good_one_to_a_suspect_and_that_to_one_who_leaves() -> None:
    router = Router("spread")
    router.register(A, clients=9)
    router.register(B)
    router.register(C)
    router.suspect(B)
    router.register(C, leaving=True)
    assert router.states() == {A: ServerState.AVAILABLE, B: ServerState.SUSPECT, C: ServerState.STANDBY}
    assert router.offered == A
    router.crash(A)
    assert router.offered == B
    router.crash(B)
    assert router.offered == C
    router.crash(C)
    assert router.offered is None


def test_spread_counts_the_clients_it_sent_until_they_log_in() -> None:
    router = Router("spread")
    router.register(A, clients=2)
    router.register(B)
    assert [router.connect() for _ in range(6)] == [B, B, A, B, A, B]
    router.register(B, clients=4, logins=4)  # it counts them itself now
    assert [router.connect() for _ in range(2)] == [A, B]


def test_spread_counts_those_who_are_still_on_their_way() -> None:
    router = Router("spread")
    router.register(A)
    router.register(B)
    assert [router.connect() for _ in range(4)] == [A, B, A, B]
    router.register(A, clients=1, logins=1)
    assert [router.connect() for _ in range(2)] == [A, B]


def test_spread_forgets_those_who_never_came() -> None:
    router = Router("spread")
    router.register(A)
    assert [router.connect() for _ in range(3)] == [A, A, A]
    router.register(B, clients=1)
    router.now_s += LOGIN_WITHIN_S
    assert router.connect() == A


def test_spread_counts_the_logins_of_an_incarnation_from_nothing() -> None:
    router = Router("spread")
    router.register(A, logins=50)
    assert router.connect() == A
    router.register(A, epoch=2, logins=1, clients=1)
    router.register(B)
    assert [router.connect() for _ in range(2)] == [B, A]


def test_spread_fills_one_who_is_back_little_by_little() -> None:
    router = Router("spread")
    router.register(A, clients=100)
    router.register(B)
    flap(router, B, 1)
    assert router.connect() == A  # held down
    router.now_s += HOLD_FIRST_S
    given = [router.connect() for _ in range(100)]
    assert 10 <= given.count(B) <= 20
    router.now_s += RAMP_S
    assert {router.connect() for _ in range(50)} == {B}


def test_spread_uses_who_leaves_where_there_is_nobody_else() -> None:
    router = Router("spread")
    router.register(A, leaving=True)
    assert (router.offered, router.states()) == (A, {A: ServerState.AVAILABLE})
    router.register(B)
    assert router.states() == {A: ServerState.STANDBY, B: ServerState.AVAILABLE}


def test_a_refused_registration_forgets_no_offers() -> None:
    router = Router("spread")
    router.register(A, epoch=2)
    router.register(B)
    assert router.connect() == A
    router.register(A, epoch=1, logins=1)
    assert router.connect() == B
