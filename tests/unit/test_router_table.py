"""The router's table, event by event: epochs never fall (R1), the choice is sticky (R2), the spec counts (R7)."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from snsnode.base.ids import Epoch, VmName
from snsnode.node.config import Endpoint
from snsnode.router.table import (
    EPOCH_LEAP,
    Server,
    ServerState,
    Verdict,
    admit,
    register,
)
from tests.table_rig import LEASE_S, MEMBERS, A, B, C, Router, table


@pytest.mark.parametrize("selection", ["single", "spread"])
def test_who_found_one_full_is_given_another_that_is_fit_and_else_the_same(
    selection: Literal["single", "spread"],
) -> None:
    router = Router(selection)
    for vm in (A, B, C):
        router.register(vm, leaving=vm == C)

    def given(*full: VmName) -> VmName:
        server = router.table.offer(router.now_s, frozenset(full))
        assert server is not None
        return server.vm

    assert given() == given(C) == A
    assert given(A) == B
    assert given(A, B) == A
    if selection == "single":
        assert router.table.available == A  # for everybody else nothing has changed


def test_an_empty_table_offers_nobody() -> None:
    assert Router().offered is None
    assert Router("spread").offered is None


def test_the_first_is_available_and_the_second_stands_by() -> None:
    router = Router()
    assert router.register(A) == Verdict(True, Epoch(1))
    router.register(B)
    assert router.states() == {A: ServerState.AVAILABLE, B: ServerState.STANDBY}
    assert router.offered == A


# --- R1: epochs never fall ------------------------------------------------------------------------------------


def test_a_registration_below_the_known_epoch_is_refused_and_told_it() -> None:
    router = Router()
    router.register(A, epoch=5)
    before = router.table
    verdict = router.register(A, epoch=4)
    assert (verdict.accepted, verdict.epoch) == (False, 5)
    assert "was replaced" in verdict.message
    assert router.table == before


def test_a_crashed_epoch_does_not_come_back() -> None:
    router = Router()
    router.register(A, epoch=5)
    router.crash(A, epoch=5)
    verdict = router.register(A, epoch=5)
    assert (verdict.accepted, verdict.epoch) == (False, 5)
    assert "crashed" in verdict.message
    assert router.register(A, epoch=6).accepted
    assert router.offered == A


def test_a_late_crash_about_one_who_was_replaced_changes_nothing() -> None:
    router = Router()
    router.register(A, epoch=6)
    before = router.table
    assert not router.crash(A, epoch=5).accepted
    assert router.table == before


def test_a_crash_of_an_epoch_that_did_not_register_yet_holds_when_it_does() -> None:
    router = Router()
    router.register(A, epoch=5)
    assert router.crash(A, epoch=6).accepted
    assert not router.register(A, epoch=5).accepted
    assert not router.register(A, epoch=6).accepted
    assert router.register(A, epoch=7).accepted


def test_a_crash_far_above_the_known_epoch_is_not_believed() -> None:
    router = Router()
    router.register(A, epoch=5)
    before = router.table
    verdict = router.crash(A, epoch=5 + EPOCH_LEAP + 1)
    assert (verdict.accepted, verdict.epoch) == (False, 5)
    assert "too far above the known epoch 5" in verdict.message
    assert router.table == before
    assert router.crash(A, epoch=5 + EPOCH_LEAP).accepted


def test_the_epoch_of_one_who_is_down_leaps_no_further() -> None:
    router = Router()
    router.register(A, epoch=5)
    router.crash(A, epoch=5)
    assert not router.crash(A, epoch=2**61).accepted
    assert router.register(A, epoch=6).accepted


def test_a_second_crash_raises_the_epoch_that_is_known_to_be_down() -> None:
    router = Router()
    router.register(A, epoch=5)
    router.crash(A, epoch=5)
    assert router.crash(A, epoch=6) == Verdict(True, Epoch(6), "removed")
    assert not router.register(A, epoch=6).accepted  # sent before it crashed, came after


def test_the_same_crash_twice_is_one() -> None:
    router = Router()
    router.register(A)
    router.crash(A)
    before = router.table
    assert router.crash(A).accepted
    assert router.table == before


def test_a_crash_of_one_that_is_not_known_is_taken_for_granted_and_leaves_nothing() -> None:
    router = Router()
    assert router.crash(A, epoch=3).accepted
    assert router.states() == {}


def test_one_that_is_not_known_counts_only_when_it_has_confirmed_itself() -> None:
    empty = table()
    for epoch in (1, 2**61):
        server = Server(A, "127.0.0.1", 3020, Epoch(epoch))
        after, verdict = register(empty, server, LEASE_S, 0.0, confirmed=False)
        assert after is empty
        assert (verdict.accepted, verdict.epoch) == (False, 0)
        after, verdict = register(empty, server, LEASE_S, 0.0, confirmed=True)
        assert verdict.accepted and after.servers[A].epoch == epoch


def test_an_epoch_that_leaps_counts_only_when_it_is_confirmed() -> None:
    router = Router()
    router.register(A, epoch=5)
    before = router.table
    leaps = Server(A, "127.0.0.1", 3020, Epoch(5 + EPOCH_LEAP + 1))
    after, verdict = register(before, leaps, LEASE_S, router.now_s, confirmed=False)
    assert after is before
    assert (verdict.accepted, verdict.epoch) == (False, 5)
    steps = replace(leaps, epoch=Epoch(5 + EPOCH_LEAP))
    assert register(before, steps, LEASE_S, router.now_s, confirmed=False)[1].accepted
    assert register(before, leaps, LEASE_S, router.now_s, confirmed=True)[1].accepted


# --- R7: there are only servers of the spec -------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"vm": VmName("vm99")}, {"address": "127.0.0.2"}, {"port": 3021}])
@pytest.mark.parametrize("confirmed", [False, True])
def test_what_the_spec_lacks_cannot_register(wrong: dict[str, Any], confirmed: bool) -> None:
    router = Router()
    router.register(A)
    server = replace(Server(B, "127.0.0.1", 3020, Epoch(1)), **wrong)
    after, verdict = register(router.table, server, LEASE_S, router.now_s, confirmed=confirmed)
    assert after is router.table
    assert not verdict.accepted and "the spec has no server" in verdict.message


def test_one_that_left_the_spec_or_moved_is_forgotten_and_another_is_chosen() -> None:
    router = Router()
    router.register(A, epoch=7)
    router.register(B)
    moved = dict(MEMBERS) | {A: Endpoint(A, "127.0.0.1", 3021)}
    gone = {vm: place for vm, place in MEMBERS.items() if vm != A}
    for members in (moved, gone):
        after = admit(router.table, members, router.now_s)
        assert (set(after.servers), after.available, after.claim) == ({B}, B, 2)
    same = admit(router.table, dict(MEMBERS), router.now_s)
    assert (same.servers, same.available) == (router.table.servers, A)


# --- R2: the choice is sticky ---------------------------------------------------------------------------------


def test_a_crash_promotes_the_oldest_other() -> None:
    router = Router()
    for vm in (A, B, C):
        router.register(vm)
    router.crash(A)
    assert router.states() == {A: ServerState.DOWN, B: ServerState.AVAILABLE, C: ServerState.STANDBY}


def test_one_who_comes_back_stands_by() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    router.crash(A)
    router.register(A, epoch=2)
    assert router.offered == B
    router.crash(B)
    assert router.offered == A


def test_one_who_comes_back_goes_to_the_end_of_the_queue() -> None:
    router = Router()
    for vm in (A, B, C):
        router.register(vm)
    router.crash(B)
    router.register(B, epoch=2)
    router.crash(A)
    assert router.offered == C


def test_a_renewal_keeps_its_place_in_the_queue() -> None:
    router = Router()
    for vm in (A, B, C, B):
        router.register(vm)
    router.crash(A)
    assert router.offered == B


def test_a_restart_that_nobody_reported_keeps_its_place() -> None:
    router = Router()
    router.register(A, epoch=1)
    router.register(B)
    router.register(A, epoch=2)
    assert router.offered == A
    assert router.table.servers[A].epoch == 2


def test_when_the_last_crashes_nobody_is_offered() -> None:
    router = Router()
    router.register(A)
    router.crash(A)
    assert router.offered is None
    assert router.table.available is None


def test_one_who_leaves_hands_over_and_is_the_last_resort() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    router.register(A, leaving=True)
    assert router.offered == B
    router.crash(B)
    assert router.offered == A


def test_the_last_one_who_leaves_is_still_offered() -> None:
    router = Router()
    router.register(A, leaving=True)
    assert router.offered == A


def test_one_who_stays_after_all_waits_for_its_turn() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    router.register(A, leaving=True)
    router.register(A)
    assert router.offered == B


def test_one_who_was_suspect_does_not_take_the_choice_back() -> None:
    router = Router()
    router.register(A)
    router.register(B)
    router.suspect(A)
    router.register(A, claim=1)
    assert router.offered == B
