"""The router's table, event by event: epochs never fall (R1), the choice is sticky (R2), and it is bounded."""

from snsnode.base.ids import Epoch, VmName
from snsnode.router.table import (
    CRASH_LEAP,
    SERVERS_MAX,
    Server,
    ServerState,
    Table,
    Verdict,
    crash,
)
from tests.table_rig import A, B, C, Router


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
    verdict = router.crash(A, epoch=5 + CRASH_LEAP + 1)
    assert (verdict.accepted, verdict.epoch) == (False, 5)
    assert "too far above the known epoch 5" in verdict.message
    assert router.table == before
    assert router.crash(A, epoch=5 + CRASH_LEAP).accepted


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


def test_a_crash_of_a_stranger_is_taken_for_granted() -> None:
    router = Router()
    assert router.crash(A, epoch=3).accepted
    assert router.states() == {}


def test_a_crash_that_a_strangers_own_machine_reports_is_remembered() -> None:
    router = Router()
    router.table, verdict = crash(router.table, A, Epoch(3), router.now_s, ("127.0.0.1", 3020))
    assert verdict.accepted
    assert router.states() == {A: ServerState.DOWN}
    assert not router.register(A, epoch=3).accepted
    assert router.register(A, epoch=4).accepted


def test_a_full_table_remembers_no_stranger() -> None:
    full = Table(servers={VmName(f"v{n}"): Server(VmName(f"v{n}"), "h", 1, Epoch(1)) for n in range(SERVERS_MAX)})
    assert crash(full, A, Epoch(3), 0.0, ("127.0.0.1", 3020))[0] is full


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


# --- bounds ---------------------------------------------------------------------------------------------------


def test_a_full_table_refuses_new_names_and_keeps_the_known() -> None:
    router = Router()
    for number in range(SERVERS_MAX):
        assert router.register(VmName(f"a{number}")).accepted
    verdict = router.register(VmName("b"))
    assert (verdict.accepted, verdict.epoch) == (False, 0)
    assert verdict.message == "b is not known, and the table is full: it has 1000 servers"
    assert router.register(VmName("a5"), epoch=2).accepted
