"""The router's table: leases that run out drop nobody (R3), and all at once say nothing (R4)."""

import pytest

from snsnode.router.table import (
    LATE_S,
    ServerState,
)
from tests.table_rig import LEASE_S, A, B, Router


def test_a_lease_that_runs_out_makes_suspect_and_hands_over() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    router.pass_time(LEASE_S + 0.2, B)
    assert router.states() == {A: ServerState.SUSPECT, B: ServerState.AVAILABLE}


def test_a_lease_that_is_renewed_never_runs_out() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    router.pass_time(60, A, B)
    assert router.offered == A


def test_the_last_one_is_suspected_but_never_dropped() -> None:
    router = Router()
    router.register(A)
    router.pass_time(60)
    assert router.states() == {A: ServerState.SUSPECT}
    assert router.offered == A
    router.register(A)
    assert router.states() == {A: ServerState.AVAILABLE}


def test_a_suspect_who_renews_stands_by() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    router.suspect(A)
    router.register(A)
    assert router.states() == {A: ServerState.STANDBY, B: ServerState.AVAILABLE}


def test_all_suspect_keeps_the_choice() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    router.suspect(A)
    router.suspect(B)
    assert router.offered == B
    router.suspect(A)
    assert router.offered == B


def test_suspicion_of_another_incarnation_or_of_a_stranger_is_nothing() -> None:
    router = Router()
    router.register(A, epoch=2)
    before = router.table
    router.suspect(A, epoch=1)
    router.suspect(A, epoch=3)
    router.suspect(B)
    assert router.table == before


def test_the_dead_are_not_suspected() -> None:
    router = Router()
    router.register(A)
    router.crash(A)
    router.suspect(A)
    router.pass_time(60)
    assert router.states() == {A: ServerState.DOWN}


def test_all_leases_at_once_suspect_nobody() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    router.pass_time(LEASE_S + 5)
    assert router.states() == {A: ServerState.AVAILABLE, B: ServerState.STANDBY}
    router.register(B)  # we are back: the other one needs a moment, too, and then its silence means something
    router.look()
    assert router.states() == {A: ServerState.AVAILABLE, B: ServerState.STANDBY}
    router.pass_time(LEASE_S, B)
    assert router.states() == {A: ServerState.SUSPECT, B: ServerState.AVAILABLE}


@pytest.mark.parametrize("interval_s", [LEASE_S / 3, LEASE_S / 2])
def test_a_router_that_was_cut_off_suspects_nobody_whenever_each_had_renewed_last(interval_s: float) -> None:
    router = Router()
    router.register(A)
    router.pass_time(interval_s)
    router.register(B)  # their leases run out one after the other
    router.pass_time(3 * LEASE_S)
    assert router.states() == {A: ServerState.AVAILABLE, B: ServerState.STANDBY}


def test_one_who_falls_silent_beside_another_is_suspected_as_soon_as_its_lease_runs_out() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    for _ in range(3):
        router.pass_time(LEASE_S / 3)
        router.register(B)
    router.pass_time(0.2)
    assert router.states() == {A: ServerState.SUSPECT, B: ServerState.AVAILABLE}


def test_a_router_that_was_away_gives_everybody_a_whole_lease() -> None:
    router = Router()
    router.register(A)
    router.pass_time(4.0, A)
    router.register(B)
    router.now_s += 60
    router.register(B)  # the first to be heard again
    router.look()
    assert router.states() == {A: ServerState.AVAILABLE, B: ServerState.STANDBY}
    router.pass_time(LEASE_S - 0.5, B)
    assert router.offered == A
    router.pass_time(1.0, B)
    assert router.offered == B


@pytest.mark.parametrize("gap_s", [0.1, LATE_S - 0.01])
def test_looks_that_come_in_time_prolong_nothing(gap_s: float) -> None:
    router = Router()
    router.register(A)
    until_s = router.now_s + LEASE_S + 2 * gap_s
    while router.now_s < until_s:
        router.now_s += gap_s
        router.look()
    assert router.states() == {A: ServerState.SUSPECT}
