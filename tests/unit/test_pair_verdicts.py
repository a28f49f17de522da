"""The pair machine's verdicts: what is evidence of a death or a hang, and what is none."""

import pytest

from snsnode.guard.machine import STALL_S, Answered, Beat, Cause, Clear, Died, Missed, Phase
from snsnode.guard.times import LATE_S, TICK_S
from tests.pair_rig import MASTER, SLAVE, P, Q, starting, up

# --- UP ----------------------------------------------------------------------------------------------------


def test_healthy_partner_is_asked_once_an_interval_and_left_alone() -> None:
    watcher = up()
    actions = watcher.run(30)
    assert set(actions) == {Beat(P)}
    assert len(actions) in (9, 10)


def test_listener_sends_nothing() -> None:
    watcher = up(MASTER)
    watcher.count = None
    for _ in range(10):
        assert watcher.run(2.9) == []
        watcher.feed(Answered(P))


def test_died_is_believed_at_once() -> None:
    watcher = up()
    assert watcher.feed(Died(P)) == [Clear(P, Cause.DEAD)]


def test_death_of_somebody_else_is_nothing() -> None:
    watcher = up()
    before = watcher.state
    for event in (Died(Q), Missed(Q), Answered(Q)):
        assert watcher.feed(event) == []
        assert watcher.state == before


def test_a_stopped_partner_is_condemned_within_three_ticks() -> None:
    watcher = up()
    watcher.run(1)
    watcher.letter, watcher.moving = "T", False
    stopped_s = watcher.now_s
    assert watcher.tick() == []
    assert watcher.tick() == [Clear(P, Cause.FROZEN)]
    assert watcher.now_s - stopped_s <= 0.3


def test_stopped_for_one_look_only_is_nothing() -> None:
    watcher = up()
    for letter in "TSTSTRTD":
        watcher.letter = letter
        watcher.tick()
    assert watcher.state.phase is Phase.UP


def test_a_listener_condemns_a_stopped_partner_too() -> None:
    watcher = up(MASTER)
    watcher.letter = "T"
    watcher.tick()
    assert watcher.tick() == [Clear(P, Cause.FROZEN)]


@pytest.mark.parametrize("since_beat_s", [0.0, 0.5, 1.5, 2.4, 2.9])
def test_a_deadlock_is_found_within_two_seconds(since_beat_s: float) -> None:
    watcher = up()
    watcher.run(3.0)
    watcher.run(since_beat_s)
    watcher.moving = False
    locked_s = watcher.now_s
    assert watcher.run(5, answers=False)[-1] == Clear(P, Cause.HUNG)
    assert watcher.now_s - locked_s <= 2.0


def test_the_bell_rings_once_for_each_standstill() -> None:
    watcher = up()
    watcher.run(0.5)
    for _ in range(2):
        watcher.moving = False
        assert watcher.run(STALL_S + 2 * TICK_S) == [Beat(P)]
        assert watcher.run(1.0) == []
        watcher.moving = True
        watcher.tick()


def test_the_bell_alone_condemns_nobody() -> None:
    watcher = up()
    watcher.moving = False
    watcher.run(8.0)
    assert watcher.state.phase is Phase.UP


def test_threads_that_answer_for_a_loop_that_does_not_turn_are_found_wedged() -> None:
    watcher = up()
    watcher.moving = False
    began_s = watcher.now_s
    assert watcher.run(20)[-1] == Clear(P, Cause.WEDGED)
    assert watcher.now_s - began_s == pytest.approx(9.0, abs=0.3)


def test_partner_whose_progress_moves_may_miss_beats_for_the_whole_silence() -> None:
    watcher = up()
    answered_s = watcher.now_s
    actions = watcher.run(30, answers=False)
    assert actions[-1] == Clear(P, Cause.UNANSWERED)
    assert 9.0 < watcher.now_s - answered_s < 9.0 + 1.5
    assert len(actions) < 15


def test_partner_that_shows_no_progress_is_not_condemned_by_quick_misses() -> None:
    """Its counter and its socket were removed, say: each beat fails at once, for less than the silence."""
    watcher = up()
    watcher.count = None
    answered_s = watcher.state.beat_s
    while watcher.now_s - answered_s < 8.8:
        actions = list(watcher.tick())
        while Beat(P) in actions:
            actions = watcher.feed(Missed(P))
        assert watcher.state.phase in (Phase.UP, Phase.DOUBTED)
    watcher.feed(Answered(P))
    assert watcher.state.phase is Phase.UP


def test_partner_that_shows_no_progress_is_condemned_after_the_whole_silence() -> None:
    watcher = up()
    watcher.count = None
    answered_s = watcher.now_s
    assert watcher.run(30, answers=False)[-1] == Clear(P, Cause.UNANSWERED)
    assert 9.0 < watcher.now_s - answered_s < 9.0 + 1.5


def test_partner_that_shows_no_progress_is_condemned_by_its_state() -> None:
    watcher = up()
    watcher.count, watcher.letter = None, "T"
    watcher.tick()
    assert watcher.tick() == [Clear(P, Cause.FROZEN)]


def test_silent_slave_is_condemned_after_the_silence() -> None:
    watcher = up(MASTER)
    watcher.count = None
    heard_s = watcher.state.beat_s
    assert watcher.run(20) == [Clear(P, Cause.SILENT)]
    assert watcher.now_s - heard_s == pytest.approx(9.0, abs=0.2)


def test_slave_that_is_heard_is_kept() -> None:
    watcher = up(MASTER)
    watcher.count = None
    for _ in range(10):
        assert watcher.run(8.8) == []
        watcher.feed(Answered(P))


# --- DOUBTED -----------------------------------------------------------------------------------------------


def test_a_miss_is_asked_again_at_once() -> None:
    watcher = up()
    assert watcher.feed(Missed(P)) == [Beat(P)]
    assert watcher.state.phase is Phase.DOUBTED


def test_doubt_ends_with_an_answer() -> None:
    watcher = up()
    watcher.feed(Missed(P))
    watcher.feed(Answered(P))
    assert (watcher.state.phase, watcher.state.missed) == (Phase.UP, 0)


def test_beats_that_fail_at_once_make_no_hot_loop() -> None:
    watcher = up()
    began_s, beats = watcher.now_s, 0
    while watcher.now_s - began_s < 5:
        actions = list(watcher.tick())
        while Beat(P) in actions:
            beats += 1
            actions = watcher.feed(Missed(P))
    assert watcher.state.phase is Phase.DOUBTED
    assert beats <= 5 / TICK_S + 2


def test_a_beat_from_before_that_fails_late_does_not_hide_a_standstill() -> None:
    watcher = up()
    watcher.feed(Missed(P))
    watcher.moving = False
    for _ in range(7):
        watcher.tick()
    assert watcher.feed(Missed(P)) == [Clear(P, Cause.HUNG)]


# --- a watcher that was itself late ------------------------------------------------------------------------


def test_a_late_tick_forgives_everything() -> None:
    watcher = up()
    watcher.letter, watcher.moving = "T", False
    watcher.tick()
    watcher.feed(Missed(P))
    assert watcher.tick(after_s=60) in ([], [Beat(P)])
    watcher.letter = "S"
    assert watcher.feed(Missed(P)) == []
    assert watcher.state.phase is Phase.DOUBTED


@pytest.mark.parametrize("count", [0, None])
def test_a_miss_that_comes_before_the_late_tick_is_not_believed(count: int | None) -> None:
    watcher = up()
    watcher.count = count
    watcher.tick()
    watcher.now_s += 60  # we were frozen; the first thing we learn is that our beats timed out
    for _ in range(3):
        assert watcher.feed(Missed(P)) == []
    assert watcher.state.phase is Phase.UP


def test_time_in_which_nobody_looked_is_no_standstill() -> None:
    watcher = up()
    watcher.tick()
    watcher.moving = False
    watcher.tick(after_s=0.01)  # too soon for progress to have moved again
    watcher.now_s += LATE_S - 0.005
    assert watcher.feed(Missed(P)) == [Beat(P)]


def test_silence_while_we_were_away_is_not_the_slaves() -> None:
    watcher = up(MASTER)
    watcher.count = None
    assert watcher.tick(after_s=60) == []
    assert watcher.run(8.9) == []
    assert watcher.state.phase is Phase.UP
    assert watcher.run(1.0) == [Clear(P, Cause.SILENT)]


def test_a_late_tick_starts_the_start_deadline_anew() -> None:
    watcher = starting()
    assert Clear not in map(type, watcher.tick(after_s=60))
    assert Clear not in map(type, watcher.run(19.8, answers=False))
    assert watcher.run(1.0, answers=False)[-1] == Clear(P, Cause.NEVER_READY)


def test_a_partner_that_hangs_is_found_after_a_late_tick_too() -> None:
    watcher = up()
    watcher.moving = False
    watcher.tick(after_s=60)
    late_s = watcher.now_s
    assert watcher.run(20, answers=False)[-1] == Clear(P, Cause.HUNG)
    assert watcher.now_s - late_s <= SLAVE.interval_s + 2.0


def test_a_partner_that_is_stopped_is_found_at_once_after_a_late_tick() -> None:
    watcher = up()
    watcher.letter = "T"
    watcher.tick(after_s=60)
    assert watcher.tick() == [Clear(P, Cause.FROZEN)]


# --- a debugger --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [7, None])
def test_a_traced_partner_is_left_alone_but_still_asked(count: int | None) -> None:
    watcher = up()
    watcher.letter, watcher.moving, watcher.count = "t", False, count
    for _ in range(300):
        actions = list(watcher.tick())
        while Beat(P) in actions:  # fails at once, which is worse than a timeout
            actions = watcher.feed(Missed(P))
        assert watcher.state.phase in (Phase.UP, Phase.DOUBTED)
    assert any(at_s > watcher.now_s - 5 for at_s, _ in watcher.all)


def test_a_beat_that_was_sent_while_a_debugger_held_it_does_not_count_afterwards() -> None:
    watcher = up()
    watcher.count = None
    watcher.letter = "t"
    watcher.run(5)
    watcher.letter = "S"
    watcher.tick()
    assert watcher.feed(Missed(P)) == []
    assert watcher.feed(Missed(P)) == []
    assert watcher.state.phase is Phase.UP


def test_a_traced_slave_is_not_silent() -> None:
    watcher = up(MASTER)
    watcher.letter, watcher.count = "t", None
    assert watcher.run(60) == []
    watcher.letter = "S"
    assert watcher.run(8.8) == []
