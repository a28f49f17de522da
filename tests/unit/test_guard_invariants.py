"""The invariants as checked functions: each is seen to say no, to a step or a look that is wrong on purpose."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snsnode.guard import invariants, machine
from snsnode.guard.judge import Action, Held, Memory, due_s, judge, late_s
from snsnode.guard.machine import (
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
    State,
    Tick,
)
from snsnode.guard.table import TABLE, Act
from snsnode.guard.times import LONGEST, SHIPPED, SHORTEST, TICK_S, Times
from snsnode.guard.view import Me, Place, View
from snsnode.node.places import EMPTY, UNKNOWN, Seen
from snsnode.node.process import Identity

ONE, TWO, OTHER = (Identity(pid, 1, "boot") for pid in (11, 22, 33))
SENDER = machine.Rules.of(SHIPPED, sends=True)
LISTENER = machine.Rules.of(SHIPPED, sends=False)
NOW_S = 1000.0
UP = State(
    Phase.UP, ONE, since_s=900.0, tick_s=NOW_S - TICK_S, beat_s=NOW_S, next_beat_s=NOW_S + 3, progress=7,
    progress_s=NOW_S, trusted_from_s=900.0,
)  # fmt: skip
CLEARING = replace(UP, phase=Phase.CLEARING, cause=Cause.HUNG)
WAITING = State(Phase.WAITING, tick_s=NOW_S - TICK_S, launch_at_s=NOW_S)


def machine_says(
    before: State,
    event: machine.Event,
    after: State,
    *actions: machine.Action,
    rules: machine.Rules = SENDER,
    wanted: bool = True,
) -> str:
    return "; ".join(invariants.by_machine(before, event, NOW_S, rules, wanted, after, actions))


# --- the machine -------------------------------------------------------------------------------------------------

LATE = replace(UP, tick_s=NOW_S - 60.0)
STALLED = replace(UP, progress_s=NOW_S - 20.0, tick_s=NOW_S - TICK_S)


@pytest.mark.parametrize(
    ("says", "before", "event", "after", "action", "wanted"),
    [
        ("I1", UP, Tick("S", 7), replace(CLEARING, partner=None), Launch(Cause.HUNG), True),
        ("I1", UP, Tick("S", 7), replace(UP, phase=Phase.ABSENT), None, True),
        ("I1", CLEARING, Tick("S", 7), replace(CLEARING, partner=None), Launch(Cause.HUNG), True),
        ("I2", WAITING, Tick(), replace(WAITING, phase=Phase.CLEARING), Launch(Cause.DEAD), False),
        ("I2", STALLED, Missed(ONE), CLEARING, Clear(ONE, Cause.HUNG), False),
        ("I3", LATE, Tick("T", 7), CLEARING, Clear(ONE, Cause.FROZEN), True),
        ("I3", LATE, Tick("S", 7), replace(LATE, missed=2, tick_s=NOW_S), None, True),
        ("I3", replace(STALLED, trusted_from_s=NOW_S + 1), Missed(ONE), CLEARING, Clear(ONE, Cause.HUNG), True),
        ("I3", replace(UP, frozen_seen=1), Tick("t", 7), CLEARING, Clear(ONE, Cause.FROZEN), True),
        ("I4", UP, Tick("S", 7), CLEARING, Clear(ONE, Cause.DEAD), True),
        ("I4", UP, Died(TWO), CLEARING, Clear(ONE, Cause.DEAD), True),
        ("I4", UP, Missed(ONE), CLEARING, Clear(ONE, Cause.HUNG), True),
        ("I4", UP, Missed(ONE), CLEARING, Clear(ONE, Cause.UNANSWERED), True),
        ("I4", UP, Tick("T", 7), CLEARING, Clear(ONE, Cause.FROZEN), True),
        ("I4", STALLED, Tick("S", 8), CLEARING, Clear(ONE, Cause.WEDGED), True),
        ("I4", UP, Tick("S", 7), CLEARING, Clear(ONE, Cause.SILENT), True),
        ("I4", UP, Tick("S", 7), CLEARING, Clear(ONE, Cause.NEVER_READY), True),
        ("I5", CLEARING, Died(ONE), CLEARING, Clear(ONE, Cause.DEAD), True),
        ("I5", CLEARING, Answered(ONE), UP, None, True),
        ("I5", UP, Died(ONE), UP, Clear(ONE, Cause.DEAD), True),
        ("I5", CLEARING, Tick(), CLEARING, Clear(ONE, Cause.HUNG), True),
        ("I6", replace(CLEARING, clear_at_s=1.0), Tick(), CLEARING, Clear(ONE, Cause.DEAD), True),
        ("I6", CLEARING, Failed(), CLEARING, None, True),
        ("I6", UP, Died(ONE), CLEARING, None, True),
        ("nothing is due", UP, Tick("S", 7), UP, Beat(ONE), True),
        ("nothing is due", UP, Tick("S", 7), replace(UP, missed=1), None, True),
        ("nothing is due", replace(CLEARING, clear_at_s=2000.0), Tick(), CLEARING, Clear(ONE, Cause.HUNG), True),
        ("partner", UP, Tick("S", 7), replace(UP, partner=None), None, True),
        ("beat", UP, Tick("S", 7), UP, Beat(TWO), True),
    ],
)  # fmt: skip
def test_machine_that_breaks_an_invariant_is_told(
    says: str, before: State, event: machine.Event, after: State, action: machine.Action | None, wanted: bool
) -> None:
    assert says in machine_says(before, event, after, *([action] if action else []), wanted=wanted)


@pytest.mark.parametrize(
    ("before", "event", "wanted"),
    [
        (UP, Died(ONE), False),
        (UP, Tick("S", 8), True),
        (replace(UP, frozen_seen=1), Tick("T", 7), True),
        (LATE, Tick("T", 7), True),
        (STALLED, Missed(ONE), True),
        (CLEARING, Cleared(0.0), True),
        (CLEARING, Failed(), True),
        (replace(CLEARING, clear_at_s=1.0), Tick(), True),
        (WAITING, Tick(), True),
        (WAITING, Tick(), False),
    ],
)
def test_the_machine_itself_breaks_none(before: State, event: machine.Event, wanted: bool) -> None:
    after, actions = machine.step(before, event, NOW_S, SENDER, wanted=wanted)
    assert machine_says(before, event, after, *actions, wanted=wanted) == ""


# --- the judge ---------------------------------------------------------------------------------------------------

ALONE = View(EMPTY, EMPTY, Seen(OTHER, True, "S"), ours=ONE, alone=True)
FROZEN = View(Seen(ONE, True, "T", 7), Seen(TWO, True, "T"), EMPTY)
LOOKED = Memory((), NOW_S)
HELD = Memory((Held("unguarded frozen slave", ONE, NOW_S - 60.0),), NOW_S - 1.0)
END = Action(Act.END, Place.SLAVE, "", "unguarded frozen slave", ONE)
LAUNCH = Action(Act.LAUNCH_SLAVE, Place.SLAVE, "", "dead pair")
RESCUE = Action(Act.RESCUE, Place.MASTER, "", "dead partners")


def judge_says(view: View, me: Me, *actions: Action, before: Memory = HELD, after: Memory = LOOKED) -> str:
    return "; ".join(invariants.by_judge(before, view, me, NOW_S, SHIPPED, after, actions))


@pytest.mark.parametrize(
    ("says", "view", "me", "action", "before"),
    [
        ("may not", ALONE, Me.SUPERVISORD, RESCUE, HELD),
        ("may not", FROZEN, Me.SLAVE, END, HELD),
        ("not there", FROZEN, Me.SUPERVISORD, replace(END, victim=OTHER), HELD),
        ("evidence is gone", replace(FROZEN, slave=Seen(ONE, True, "S")), Me.SUPERVISORD, END, HELD),
        ("acts after 0.000 s", replace(FROZEN, slave=Seen(TWO, True, "T")), Me.SUPERVISORD,
         replace(END, victim=TWO), HELD),
        ("acts after 1.000 s", FROZEN, Me.SUPERVISORD, END,
         Memory((Held("unguarded frozen slave", ONE, NOW_S - 1.0),), NOW_S - 1.0)),
        ("acts after 0.000 s", FROZEN, Me.SUPERVISORD, END, replace(HELD, looked_s=NOW_S - 10.0)),
        ("not there", replace(FROZEN, slave=UNKNOWN), Me.SUPERVISORD, END, HELD),
        ("debugger", replace(FROZEN, slave=Seen(ONE, True, "t")), Me.SUPERVISORD, END, HELD),
        ("stopped or paused", replace(FROZEN, wanted=frozenset()), Me.SUPERVISORD, END, HELD),
        ("not honoured", View(wanted=frozenset()), Me.SUPERVISORD, LAUNCH, HELD),
        ("held, or unknown", View(slave=UNKNOWN), Me.SUPERVISORD, LAUNCH, HELD),
        ("held, or unknown", replace(ALONE, master=Seen(taken=True)), Me.SPARE, RESCUE, HELD),
        ("names a victim", View(), Me.SUPERVISORD, replace(LAUNCH, victim=ONE), HELD),
    ],
)  # fmt: skip
def test_judge_that_breaks_a_promise_is_told(
    says: str, view: View, me: Me, action: Action, before: Memory
) -> None:
    assert says in judge_says(view, me, action, before=before)


def test_judge_that_remembers_wrongly_is_told() -> None:
    assert "just cleared" in judge_says(FROZEN, Me.SUPERVISORD, END, after=replace(HELD, looked_s=NOW_S))
    assert "does not see" in judge_says(View(), Me.SUPERVISORD, after=replace(HELD, looked_s=NOW_S))
    assert "when it looked" in judge_says(FROZEN, Me.SUPERVISORD, after=Memory())
    assert "two actions" in judge_says(FROZEN, Me.SUPERVISORD, END, END)
    assert judge_says(FROZEN, Me.SUPERVISORD, END) == ""


@pytest.mark.parametrize("settings", [SHORTEST, SHIPPED, LONGEST])
def test_patience_rises_with_rank(settings: Times) -> None:
    assert invariants.of_table(settings) == []
    hasty = [replace(row, patience_s=lambda t: t.partner_s) for row in TABLE]
    assert len(invariants.of_table(settings, hasty)) == 4


def test_two_masters_and_the_end_of_a_healthy_one_are_told() -> None:
    assert invariants.of_serving([ONE]) == []
    assert "2 masters" in invariants.of_serving([ONE, TWO])[0]
    assert invariants.of_end("slave", "spare", "fell silent", 5.0, 9.0) == []
    assert "healthy slave" in invariants.of_end("slave", "spare", "fell silent", 4.0, 9.0)[0]


# --- any view, any memory --------------------------------------------------------------------------------------

identities = st.sampled_from([ONE, TWO, OTHER])
held_by = st.one_of(st.none(), identities)


@st.composite
def places(draw: st.DrawFn) -> Seen:
    who = draw(held_by)
    if who is None:
        return draw(st.sampled_from([EMPTY, UNKNOWN, Seen(taken=True)]))
    answers = draw(st.sampled_from([None, True, False]))
    return Seen(who, True, draw(st.sampled_from("SRDTt")), draw(st.sampled_from([None, 7, 8])), answers)


roles = st.frozensets(st.sampled_from(["slave", "master"]))
views = st.builds(
    View, places(), places(), places(), wanted=roles, leaving=roles, waits=st.booleans(), ours=held_by,
    alone=st.booleans(), sent=held_by, dismissed=held_by, born=held_by,
)  # fmt: skip
observers = st.sampled_from([Me.SLAVE, Me.SPARE, Me.SUPERVISORD])
looks = st.lists(st.tuples(views, st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0])), min_size=1, max_size=12)
settings_of = st.sampled_from([SHORTEST, SHIPPED, LONGEST])


@given(looks, observers, settings_of)
def test_judge_keeps_its_promises_whatever_it_sees(
    seen: list[tuple[View, float]], me: Me, settings: Times
) -> None:
    memory, now_s = Memory(), NOW_S
    for view, stays_s in seen:
        for after_s in _looks_in_time(view, me, settings, stays_s):
            now_s += after_s
            after, actions = judge(memory, view, me, now_s, settings)
            assert invariants.by_judge(memory, view, me, now_s, settings, after, actions) == []
            memory = after


def _looks_in_time(view: View, me: Me, settings: Times, stays_s: float) -> list[float]:
    every_s = late_s(me, view, settings)
    return [every_s] * min(int(stays_s / every_s), 20) + [0.0]


@given(views, observers, settings_of, st.floats(0.0, 0.99))
def test_looks_of_the_judge_before_anything_is_due_change_nothing(
    view: View, me: Me, settings: Times, part: float
) -> None:
    memory, first = judge(Memory(), view, me, NOW_S, settings)
    assume(all(action.act is not Act.END for action in first))  # the next look begins anew with those
    due = due_s(memory, view, me, settings)
    for step in range(1, 6):
        now_s = NOW_S + step * part * late_s(me, view, settings)
        if due is not None and now_s >= due - 1e-6:
            break
        after, actions = judge(memory, view, me, now_s, settings)
        assert (after.held, actions) == (memory.held, first)
        assert due_s(after, view, me, settings) == due
        memory = after
    if due is not None:
        in_time = replace(memory, looked_s=due)
        assert judge(in_time, view, me, due + 1e-6, settings)[1], "something was due, and nothing was done"
