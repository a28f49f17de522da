"""The pair machine, phase by phase: who is launched, condemned and cleared when."""

import pytest

from snsnode.guard.machine import (
    RETRY_S,
    STALL_S,
    STARTING_BEAT_S,
    Answered,
    Beat,
    Cause,
    Clear,
    Cleared,
    Died,
    Failed,
    Launch,
    Missed,
    Phase,
    Seen,
    Tick,
)
from snsnode.guard.times import TICK_S
from tests.pair_rig import P, Q, Watcher, clearing, starting, up, waiting

# --- ABSENT ------------------------------------------------------------------------------------------------


def test_absent_and_wanted_is_launched_at_the_first_tick_and_only_once() -> None:
    watcher = Watcher()
    assert watcher.feed(Tick()) == [Launch(Cause.FIRST)]
    for _ in range(100):
        assert watcher.tick() == []


def test_absent_and_not_wanted_stays_so() -> None:
    watcher = Watcher()
    watcher.wanted = False
    assert watcher.run(10) == []
    assert watcher.state.phase is Phase.ABSENT


def test_absent_then_somebody_is_found_running_is_adopted() -> None:
    watcher = Watcher()
    assert watcher.feed(Seen(P, settled=True)) == [Beat(P)]
    assert (watcher.state.phase, watcher.state.cause) == (Phase.UP, Cause.FOUND)


def test_a_settled_partner_that_hangs_already_is_condemned_without_a_start_deadline() -> None:
    watcher = Watcher()
    watcher.feed(Seen(P, settled=True))
    watcher.moving = False
    sent_s = watcher.now_s
    while watcher.now_s < sent_s + watcher.rules.timeout_s:
        watcher.tick()
    assert watcher.feed(Missed(P)) == [Clear(P, Cause.HUNG)]


def test_launch_that_failed_waits_for_the_budget() -> None:
    watcher = Watcher()
    watcher.feed(Tick())
    assert watcher.feed(Cleared(0.35)) == []
    assert watcher.run(0.3) == []
    assert watcher.tick() == [Launch(Cause.FIRST)]


# --- STARTING ----------------------------------------------------------------------------------------------


def test_starting_partner_is_asked_often_until_it_answers() -> None:
    watcher = starting()
    beats = watcher.run(1.0, answers=False)
    assert len(beats) == pytest.approx(1.0 / STARTING_BEAT_S, abs=1)
    watcher.feed(Answered(P))
    assert watcher.state.phase is Phase.UP
    assert watcher.run(2.0) == []


def test_starting_partner_may_miss_beats() -> None:
    watcher = starting()
    for _ in range(50):
        watcher.tick()
        assert watcher.feed(Missed(P)) == []
    assert watcher.state.phase is Phase.STARTING


def test_starting_partner_that_never_answers_is_condemned_at_the_deadline() -> None:
    watcher = starting()
    began_s = watcher.now_s
    assert watcher.run(30, answers=False)[-1] == Clear(P, Cause.NEVER_READY)
    assert watcher.now_s - began_s == pytest.approx(20, abs=2 * TICK_S)


def test_launched_partner_keeps_the_cause_and_a_found_one_says_so() -> None:
    watcher = clearing()
    watcher.feed(Cleared(0.0))
    watcher.feed(Seen(Q))
    assert watcher.state.cause is Cause.DEAD
    watcher.feed(Seen(P))  # the pid file names another one all of a sudden
    assert watcher.state.cause.value == "found running"


# --- stopped on purpose ------------------------------------------------------------------------------------


def test_not_wanted_means_no_verdict_whatever_is_seen() -> None:
    watcher = up()
    watcher.wanted = False
    watcher.letter, watcher.moving = "T", False
    for _ in range(300):
        assert watcher.tick() == []
        assert watcher.feed(Missed(P)) == []
    assert watcher.state.phase is Phase.UP


def test_a_miss_of_one_who_was_stopped_since_the_last_look_is_no_verdict() -> None:
    watcher = up()
    watcher.moving = False
    watcher.run(STALL_S + 2 * TICK_S, answers=False)
    watcher.wanted = False
    assert watcher.feed(Missed(P)) == []
    assert watcher.state.phase is Phase.UP


def test_death_of_one_who_was_stopped_is_cleared_and_not_undone() -> None:
    watcher = up()
    watcher.wanted = False
    assert watcher.feed(Died(P)) == [Clear(P, Cause.DEAD)]
    assert watcher.feed(Cleared(0.0)) == []
    assert watcher.run(60) == []
    assert watcher.state.phase is Phase.ABSENT


def test_start_after_a_stop_launches_at_once() -> None:
    watcher = up()
    watcher.wanted = False
    watcher.feed(Died(P))
    watcher.feed(Cleared(0.0))
    watcher.wanted = True
    assert watcher.tick() == [Launch(Cause.FIRST)]


def test_what_was_missed_during_a_pause_is_forgotten() -> None:
    watcher = up()
    watcher.feed(Missed(P))
    watcher.wanted = False
    watcher.letter = "T"
    watcher.run(20)
    watcher.wanted, watcher.letter = True, "S"
    watcher.tick()
    assert watcher.feed(Missed(P)) == []
    assert watcher.run(30) and watcher.state.phase is Phase.UP


# --- CLEARING and WAITING ----------------------------------------------------------------------------------


def test_while_clearing_nothing_else_is_begun() -> None:
    watcher = clearing()
    for event in (Died(P), Missed(P), Answered(P), Seen(P), Seen(P, settled=True)):
        assert watcher.feed(event) == []
        assert watcher.state.phase is Phase.CLEARING
    assert watcher.run(60) == []


def test_cleared_launches_at_once_or_after_the_wait() -> None:
    assert clearing().feed(Cleared(0.0)) == [Launch(Cause.DEAD)]
    watcher = waiting(5.0)
    assert watcher.run(4.8) == []
    assert watcher.run(0.4) == [Launch(Cause.DEAD)]


def test_cleared_twice_launches_once() -> None:
    watcher = waiting(5.0)
    assert watcher.feed(Cleared(0.0)) == []
    watcher = Watcher()
    assert watcher.feed(Cleared(0.0)) == []
    assert up().feed(Cleared(0.0)) == []


def test_waiting_ends_with_a_stop() -> None:
    watcher = waiting()
    watcher.wanted = False
    assert watcher.tick() == []
    assert watcher.state.phase is Phase.ABSENT


def test_waiting_ends_where_somebody_else_took_the_role() -> None:
    watcher = waiting(5.0)
    assert watcher.feed(Seen(Q)) == [Beat(Q)]
    assert watcher.state.phase is Phase.STARTING
    assert Launch not in map(type, watcher.run(10))


def test_clearing_ends_where_somebody_else_took_the_role() -> None:
    watcher = clearing()
    assert watcher.feed(Seen(Q)) == [Beat(Q)]
    assert watcher.state.partner == Q
    assert watcher.feed(Cleared(0.0)) == []


def test_a_wait_is_not_prolonged_by_a_late_tick() -> None:
    watcher = waiting(5.0)
    assert watcher.tick(after_s=60) == [Launch(Cause.DEAD)]


def test_seen_again_changes_nothing() -> None:
    watcher = up()
    before = watcher.state
    assert watcher.feed(Seen(P)) == []
    assert watcher.state == before


# --- an action that broke off ----------------------------------------------------------------------------------


def test_a_clear_that_broke_off_is_done_again_and_not_taken_for_a_death() -> None:
    watcher = clearing()
    assert watcher.feed(Failed()) == []
    happened = [watcher.tick() for _ in range(100)]
    assert [actions for actions in happened if actions] == [[Clear(P, Cause.DEAD)]]  # then it is under way
    assert RETRY_S / TICK_S - 1 <= happened.index([Clear(P, Cause.DEAD)]) <= RETRY_S / TICK_S


def test_a_launch_that_broke_off_is_done_again() -> None:
    watcher = clearing()
    watcher.feed(Cleared(0.0))
    assert watcher.feed(Failed()) == []
    assert watcher.state.phase is Phase.WAITING
    happened = [watcher.tick() for _ in range(round(RETRY_S / TICK_S) + 1)]
    assert happened.count([Launch(Cause.DEAD)]) == 1


def test_a_launch_that_broke_off_is_not_done_again_against_a_stop() -> None:
    watcher = clearing()
    watcher.feed(Cleared(0.0))
    watcher.wanted = False
    watcher.feed(Failed())
    assert not any(watcher.tick() for _ in range(100))


def test_a_successor_is_taken_while_a_clear_waits_to_be_done_again() -> None:
    watcher = clearing()
    watcher.feed(Failed())
    watcher.feed(Seen(Q))
    assert (watcher.state.phase, watcher.state.partner) == (Phase.STARTING, Q)
    assert not any(isinstance(action, Clear) for action in watcher.run(5.0))
