"""The router's table: claims decide, and never fall (R5)."""

from dataclasses import replace

import pytest

from snsnode.base.ids import Epoch
from snsnode.router.table import (
    CLAIM_LEAP,
    CLAIM_LEAP_CONFIRMED,
    RECALL_S,
    Server,
    is_doubtful,
    register,
)
from tests.table_rig import LEASE_S, A, B, C, Router, table


def test_whoever_is_made_available_gets_the_highest_claim() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    assert router.claims() == {A: 1, B: 0}
    router.suspect(A)
    assert router.claims() == {A: 1, B: 2}
    router.register(A, claim=1)
    assert (router.offered, router.table.claim) == (B, 2)


def test_a_new_incarnation_has_no_claim_of_the_one_that_crashed() -> None:
    router = Router()
    router.register(A, claim=7)
    router.crash(A)
    assert router.table.claim == 7
    router.register(A, epoch=2)
    assert router.claims() == {A: 8}  # made available anew: there is nobody else


def test_a_restart_that_nobody_reported_keeps_its_claim() -> None:
    router = Router()
    router.register(A)
    router.register(A, epoch=2)
    assert router.claims() == {A: 1}


def test_a_higher_claim_takes_the_choice() -> None:
    router = Router()
    router.register(A)
    router.register(B, claim=2)
    assert (router.offered, router.claims()) == (B, {A: 1, B: 2})
    router.register(A, claim=1)
    assert router.offered == B


@pytest.mark.parametrize("claim", [0, 1])
def test_a_claim_that_is_not_higher_takes_nothing(claim: int) -> None:
    router = Router()
    router.register(A)
    router.register(B, claim=claim)
    assert router.offered == A


def test_among_equal_claims_the_name_decides_whoever_came_first() -> None:
    for first, second in ((A, B), (B, A)):
        router = Router()
        router.register(first, claim=5)
        router.register(second, claim=5)
        assert router.offered == A


def test_one_who_leaves_or_is_suspect_takes_nothing_by_its_claim() -> None:
    router = Router()
    router.register(A)
    router.register(B, leaving=True, claim=9)
    assert (router.offered, router.claims()) == (A, {A: 1, B: 9})
    router.register(B, claim=9)
    assert router.offered == B


def test_a_claim_beyond_belief_is_none() -> None:
    router = Router()
    router.register(A)
    assert router.register(B, claim=1 + CLAIM_LEAP_CONFIRMED + 1).accepted
    assert (router.offered, router.table.claim, router.claims()[B]) == (A, 1, 0)
    router.register(B, claim=1 + CLAIM_LEAP_CONFIRMED)
    assert router.offered == B


def test_a_claim_that_leaps_counts_only_when_it_is_confirmed() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    leaps = Server(B, "127.0.0.1", 3020, Epoch(1), claim=1 + CLAIM_LEAP + 1)
    assert is_doubtful(router.table, leaps)
    after, verdict = register(router.table, leaps, LEASE_S, router.now_s, confirmed=False)
    assert (verdict.accepted, after) == (False, router.table)
    assert not is_doubtful(router.table, replace(leaps, claim=1 + CLAIM_LEAP))


def test_a_router_that_just_began_finds_the_choice_in_any_order() -> None:
    for order in ((A, B, C), (B, C, A), (C, B, A)):
        router = Router(begins=True)
        for vm in order:
            router.register(vm, claim={A: 3, B: 7, C: 0}[vm])
        assert (router.offered, router.table.claim) == (B, 7)


def test_a_router_that_just_began_grants_no_claim() -> None:
    router = Router(begins=True)
    router.register(A)
    assert router.claims() == {A: 0}
    router.register(B, claim=1)  # its predecessor's first and only choice
    assert router.offered == B
    router.pass_time(RECALL_S + 0.2, A, B)
    assert router.claims() == {A: 0, B: 1}


def test_it_grants_one_when_it_knows_that_there_is_none() -> None:
    router = Router(begins=True)
    router.register(A)
    router.register(B)
    router.pass_time(RECALL_S + 0.2, A, B)
    assert (router.offered, router.claims()) == (A, {A: 1, B: 0})


def test_spread_grants_no_claims() -> None:
    router = Router("spread")
    router.register(A)
    assert router.claims() == {A: 0}


def test_the_end_of_the_beginning_grants_one_claim_though_a_lease_runs_out_with_it() -> None:
    router = Router(begins=True)
    router.table = table(started_s=router.now_s)  # nobody looked at it yet
    router.register(A)
    router.now_s += LEASE_S
    router.register(B)
    router.look()
    assert router.offered == B
    assert router.claims() == {A: 0, B: 1}
