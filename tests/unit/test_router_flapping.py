"""The router's table: a server that keeps crashing is offered last (R6)."""

import pytest

from snsnode.base.ids import VmName
from snsnode.router.flapping import FORGIVE_S, HOLD_FIRST_S, HOLD_MAX_S
from tests.table_rig import A, B, C, Router, flap


def held_for_s(router: Router, vm: VmName) -> float:
    return router.table.servers[vm].held_s - router.now_s


def test_the_hold_down_doubles_to_its_maximum() -> None:
    router = Router()
    router.register(A)
    held = []
    for _ in range(8):
        flap(router, A, 1)
        held.append(held_for_s(router, A))
    assert held == pytest.approx([2, 4, 8, 16, 32, 60, 60, 60])
    assert (held[0], held[-1]) == pytest.approx((HOLD_FIRST_S, HOLD_MAX_S))


def test_one_who_flaps_is_offered_last() -> None:
    router = Router()
    for vm in (A, B, C):
        router.register(vm)
    flap(router, B, 3)
    flap(router, C, 1)
    router.crash(A)
    assert router.offered == C  # held down as well, but not for so long


def test_one_who_is_held_down_is_passed_over_for_one_who_is_not() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    flap(router, B, 4)
    router.register(C)
    router.crash(A)
    assert router.offered == C


def test_the_only_one_is_offered_however_often_it_crashes() -> None:
    router = Router()
    router.register(A)
    flap(router, A, 6)
    assert router.offered == A
    router.register(B)
    assert router.offered == A  # the choice is sticky
    router.crash(A, epoch=7)
    router.register(A, epoch=8)
    assert router.offered == B


def test_a_while_without_a_crash_forgives_all() -> None:
    router = Router()
    router.register(A)
    flap(router, A, 5)
    router.now_s += FORGIVE_S + 1
    flap(router, A, 1)
    assert held_for_s(router, A) == pytest.approx(HOLD_FIRST_S)


def test_one_who_was_away_for_long_is_not_held_down() -> None:
    router = Router()
    router.register(A)
    router.crash(A)
    router.now_s += FORGIVE_S + 1
    router.register(A, epoch=2)
    assert held_for_s(router, A) < 0


def test_one_who_left_before_it_died_did_not_crash() -> None:
    router = Router()
    router.register(A)
    router.register(A, leaving=True)
    router.crash(A)
    router.register(A, epoch=2)
    assert (router.table.servers[A].crashes, held_for_s(router, A) < 0) == (0, True)


def test_an_operator_ends_the_hold_down() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    epoch = flap(router, B, 5)
    router.register(B, epoch, claim=router.table.claim + 1)
    assert router.offered == B
