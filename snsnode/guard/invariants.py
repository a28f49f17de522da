"""What must hold after every step of the partners' machine and every look of the judge, as checked functions.

Each returns what is broken, in words; nothing broken is an empty list. They judge a step from outside: from what
was there before, what came, what is there now and what is to be done. Nothing in the product calls them. Whoever
drives the machine or the judge in tests does, after every step:

    assert not by_machine(before, event, now_s, rules, wanted, after, actions)
    assert not by_judge(memory, view, me, now_s, settings, after, actions)

and, with what it knows of the world, ``of_serving`` in every state and ``of_end`` at every end of a process.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from snsnode.guard import machine
from snsnode.guard.judge import Action, Memory, late_s
from snsnode.guard.machine import (
    Beat,
    Cause,
    Clear,
    Cleared,
    Died,
    Event,
    Failed,
    Launch,
    Missed,
    Phase,
    Rules,
    State,
)
from snsnode.guard.table import TABLE, Act, Row
from snsnode.guard.times import LATE_S, SILENT_MIN_S, TICK_S, Times
from snsnode.guard.view import Me, Place, View
from snsnode.node.process import Identity

_WATCHING = (Phase.STARTING, Phase.UP, Phase.DOUBTED)
_CHANGES_NOTHING = (machine.Answered, Missed, Died)  # where nobody is watched

# --- the partners' machine: I1 to I6 of its module ------------------------------------------------------------


def by_machine(
    before: State,
    event: Event,
    now_s: float,
    rules: Rules,
    wanted: bool,
    after: State,
    actions: Sequence[machine.Action],
) -> list[str]:
    """Return which of the machine's invariants ``step(before, event, …) == (after, actions)`` breaks."""
    broken = list(_shape(before, rules, after, actions))
    for action in actions:
        if isinstance(action, Launch):
            broken += _launch(before, event, wanted)
        elif isinstance(action, Clear) and before.phase is Phase.CLEARING:
            broken += _clear_again(before, event, now_s, action)
        elif isinstance(action, Clear):
            broken += _verdict(before, event, now_s, rules, wanted, action)
    if isinstance(event, machine.Tick) and _late(before, now_s) and wanted and after.phase in _WATCHING:
        fresh = not after.missed and after.frozen_seen <= 1 and after.progress_s == now_s
        if not fresh or after.trusted_from_s < now_s + rules.interval_s:
            broken.append("I3: evidence from before a late tick was kept")
    if isinstance(event, _CHANGES_NOTHING) and before.phase not in _WATCHING and (after != before or actions):
        broken.append(f"I5: {event} was taken as evidence in {before.phase.name}")
    if isinstance(event, machine.Tick):
        broken += _early(before, event, now_s, rules, wanted, after, actions)
    if isinstance(event, Failed) and after.phase is Phase.CLEARING and after.clear_at_s is None:
        broken.append("I6: an action broke off, and nothing says when it is tried again")
    return broken


def _shape(before: State, rules: Rules, after: State, actions: Sequence[machine.Action]) -> Iterator[str]:
    if len(actions) > 1:
        yield f"I5: {len(actions)} actions at once"
    if after.phase in _WATCHING and after.partner is None:
        yield f"{after.phase.name} without a partner"
    if after.phase in (Phase.ABSENT, Phase.WAITING) and after.partner is not None:
        yield f"I1: {after.phase.name} although a partner is known"
    acts = [action for action in actions if not isinstance(action, Beat)]
    if after.phase is Phase.CLEARING and before.phase is not Phase.CLEARING and not acts:
        yield "I6: in CLEARING with nothing under way"
    if acts and after.phase is not Phase.CLEARING:
        yield f"I5: {acts[0]} is under way, and the phase is {after.phase.name}"
    for action in actions:
        if isinstance(action, Beat) and (not rules.sends or action.partner != after.partner):
            yield "a beat by one who only listens, or to somebody else than its partner"


def _early(
    before: State,
    tick: machine.Tick,
    now_s: float,
    rules: Rules,
    wanted: bool,
    after: State,
    actions: Sequence[machine.Action],
) -> Iterator[str]:
    """Check what ``due_s`` promises: a tick before it, which finds the partner as before, changes nothing.

    ``due_s`` rounds what must be *exceeded* up by a tick, so the last tick before it is left out.
    """
    moves = tick.progress != before.progress and before.phase in _WATCHING
    if moves and before.progress is None:  # the first sign of life: it is asked at once
        return
    due_s = machine.due_s(before, rules, wanted=wanted, moving=moves)
    due = due_s is not None and now_s + TICK_S > due_s - 1e-6
    if _late(before, now_s) or due or (tick.process_state or "S") in "Tt":
        return
    if actions:
        yield f"acts although nothing is due: {actions[0]}"
        return
    same = replace(before, tick_s=now_s)
    if moves:
        same = replace(same, progress=tick.progress, progress_s=now_s)
    forgives = before.phase in _WATCHING and not wanted  # and remembers nothing that could be compared
    if not forgives and after != same:
        yield f"changes its mind although nothing is due: {before} to {after}"


def _launch(before: State, event: Event, wanted: bool) -> Iterator[str]:
    cleared = isinstance(event, Cleared) and before.phase is Phase.CLEARING
    vacant = isinstance(event, machine.Tick) and before.phase in (Phase.ABSENT, Phase.WAITING)
    if not cleared and not (vacant and before.partner is None):
        yield f"I1: a launch from {before.phase.name} by {event}: the old one may live"
    if not wanted:
        yield "I2: a launch that is not wanted"


def _clear_again(before: State, event: Event, now_s: float, action: Clear) -> Iterator[str]:
    due = before.clear_at_s is not None and now_s >= before.clear_at_s and isinstance(event, machine.Tick)
    if not due:
        yield "I5: a second Clear while one is under way"
    if action != Clear(action.partner, before.cause) or action.partner != before.partner:
        yield "I6: a Clear that broke off is tried again as another one"


def _verdict(
    before: State, event: Event, now_s: float, rules: Rules, wanted: bool, action: Clear
) -> Iterator[str]:
    """Judge a new verdict: I3 and I4."""
    if before.phase not in _WATCHING or action.partner != before.partner:
        yield f"I5: a verdict on {action.partner} in {before.phase.name}"
    if action.cause is Cause.DEAD:
        if event != Died(action.partner):
            yield "I4: called dead without the kernel's word"
        return
    if not wanted:
        yield f"I2: ended although it is stopped or paused: {action.cause.value}"
    if _late(before, now_s):
        yield f"I3: a verdict by a watcher that was late itself: {action.cause.value}"
    if action.cause not in (Cause.FROZEN, Cause.NEVER_READY) and now_s < before.trusted_from_s:
        yield f"I3: evidence from before it counts: {action.cause.value}"
    if isinstance(event, machine.Tick) and event.process_state == "t":
        yield "I3: a verdict on one that a debugger holds"
    if not _proven(before, event, now_s, rules, action.cause):
        yield f"I4: not enough evidence for this verdict: {action.cause.value}"


def _proven(before: State, event: Event, now_s: float, rules: Rules, cause: Cause) -> bool:
    """Tell whether what is known is enough for ``cause``; what each takes is said again here, on purpose."""
    unheard_s = now_s - before.beat_s
    match event:
        case machine.Tick(letter, progress):
            stalled_s = now_s - before.progress_s if progress is not None and progress == before.progress else 0.0
            match cause:
                case Cause.FROZEN:
                    return letter == "T" and before.frozen_seen >= 1
                case Cause.NEVER_READY:
                    return before.phase is Phase.STARTING and now_s - before.since_s > rules.start_deadline_s
                case Cause.SILENT:
                    return not rules.sends and unheard_s > max(rules.silence_s, SILENT_MIN_S)
                case Cause.WEDGED:
                    answered_s = before.beat_s - before.progress_s  # after its loop had stopped
                    return rules.sends and stalled_s > rules.silence_s and answered_s > rules.interval_s
        case Missed(partner) if partner == before.partner:
            looked_s = before.tick_s if before.tick_s is not None else before.progress_s
            stalled_s = looked_s - before.progress_s if before.progress is not None else 0.0
            match cause:
                case Cause.HUNG:
                    return stalled_s >= machine.STALL_S
                case Cause.UNANSWERED:
                    thrice = before.missed + 1 >= machine.UNANSWERED_MISSES
                    return thrice and unheard_s > max(rules.silence_s, machine.SILENCE_MIN_S)
    return False


def _late(before: State, now_s: float) -> bool:
    return before.tick_s is not None and now_s - before.tick_s > LATE_S


# --- the judge ------------------------------------------------------------------------------------------------

MAY = {
    Me.SLAVE: {(Act.END, Place.SPARE)},
    Me.MASTER: set(),
    Me.SPARE: {
        (Act.END, Place.SLAVE),
        (Act.LAUNCH_SLAVE, Place.SLAVE),
        (Act.RESCUE, Place.MASTER),
        (Act.LEAVE, Place.SPARE),
    },
    Me.SUPERVISORD: {(Act.END, place) for place in Place if place is not Place.MASTER}
    | {(Act.LAUNCH_SLAVE, Place.SLAVE)},
}  # fmt: skip


def by_judge(
    before: Memory,
    view: View,
    me: Me,
    now_s: float,
    settings: Times,
    after: Memory,
    actions: Sequence[Action],
    table: Sequence[Row] = TABLE,
) -> list[str]:
    """Return which of the judge's promises ``judge(before, view, me, …) == (after, actions)`` breaks."""
    rows = {row.name: row for row in table}
    broken = []
    for action in actions:
        if (action.act, action.place) not in MAY[me]:
            broken.append(f"the {me.value} may not {action.act.value} ({action.place.value})")
        broken += _patience(before, view, me, now_s, settings, rows[action.row])
        broken += _end(view, action) if action.act is Act.END else _launch_or_leave(view, action)
    places = [action.place for action in actions]
    if len(set(places)) < len(places):
        broken.append("two actions for one place")
    for held in after.held:
        row = rows[held.row]
        if row.me is not me or row.holds(view) != held.what or held.since_s > now_s:
            broken.append(f"remembers what it does not see: {held.row}")
        if any(action.act is Act.END and action.place is row.place for action in actions):
            broken.append(f"remembers something of a place that it has just cleared: {held.row}")
    if after.looked_s != now_s:
        broken.append("does not remember when it looked")
    return broken


def _patience(before: Memory, view: View, me: Me, now_s: float, settings: Times, row: Row) -> Iterator[str]:
    patience_s, what = row.patience_s(settings), row.holds(view)
    if what is None:
        yield f"acts where the evidence is gone: {row.name}"
        return
    since_s = before.since_s(row, what)
    late = before.looked_s is not None and now_s - before.looked_s > late_s(me, view, settings)
    held_s = 0.0 if since_s is None or late else now_s - since_s
    if held_s < patience_s:
        yield f"acts after {held_s:.3f} s, of {patience_s:.3f} s without a late look: {row.name}"


def _end(view: View, action: Action) -> Iterator[str]:
    """Check an end: of exactly the process that is seen or was launched, and none that a stop or a pause protects.

    A child that never reached its lock is ended in a stop too: nobody else could find it.
    """
    seen = view.at(action.place)
    ours = (view.born, view.sent, view.dismissed)
    if action.victim is None or action.victim not in (seen.identity, *ours):
        yield f"ends somebody who is not there: {action.row}"
    elif action.victim not in ours:
        if seen.is_traced:
            yield f"ends one that a debugger holds: {action.row}"
        if action.place is not Place.SPARE and action.place.value not in view.wanted:
            yield f"ends one that is stopped or paused: {action.row}"


def _launch_or_leave(view: View, action: Action) -> Iterator[str]:
    if action.victim is not None:
        yield f"names a victim, and ends nobody: {action.row}"
    if action.act is Act.LEAVE:
        return
    if action.place.value not in view.wanted:
        yield f"a stop or a pause is not honoured: {action.row}"
    if action.act is Act.RESCUE and not view.master.is_empty:
        yield f"takes a place that is held, or unknown: {action.row}"
    if action.act is Act.LAUNCH_SLAVE and (not view.slave.known or view.slave.taken):
        yield f"launches into a place that is held, or unknown: {action.row}"


# --- the world ------------------------------------------------------------------------------------------------


def of_serving(masters: Collection[Identity]) -> list[str]:
    """Return what is broken where all of ``masters`` live and serve as this pair's master at this moment."""
    return [f"{len(masters)} masters serve at once: {sorted(m.pid for m in masters)}"] if len(masters) > 1 else []


def of_end(who: str, by: str, cause: str, ran_ago_s: float, patience_s: float) -> list[str]:
    """Return what is broken where ``by`` ends ``who``, which ran ``ran_ago_s`` ago last.

    It is healthy if it ran within half its watcher's patience. Where ``by`` has the kernel's word (it is dead, two
    looks found state T), there is no patience, and nothing to check: leave it out.
    """
    if ran_ago_s < patience_s / 2:
        return [f"{by} ends a healthy {who}, which ran {ran_ago_s:.1f} s ago ({cause})"]
    return []


def of_table(settings: Times, table: Sequence[Row] = TABLE) -> list[str]:
    """Return where patience with a slave that may work does not rise by rank: partner < spare < supervisord.

    Left out are rows whose evidence shows that the ranks below cannot act, and a parent's with its own child.
    """
    ranks = {
        Me.SPARE: [r for r in table if r.name in ("silent slave",)],
        Me.SUPERVISORD: [r for r in table if r.name in ("unmoved slave", "frozen slave", "master and spare")],
    }
    broken, below_s = [], settings.partner_s
    for rows in ranks.values():
        for row in rows:
            if row.patience_s(settings) <= below_s:
                broken.append(f"{row.name}: {row.patience_s(settings)} s, and the rank below {below_s} s")
        below_s = max([below_s, *(row.patience_s(settings) for row in rows)])
    return broken
