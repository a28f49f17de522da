"""The judge: memory + view + now → new memory + actions. Pure, and the same for every observer.

It goes through the observer's rows of the table. A row whose condition has held for its whole patience, at every
look and of the same process, gives an action. An observer whose look comes late did not run itself, and what it
remembers is no evidence: then every condition begins anew.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from snsnode.guard import times
from snsnode.guard.table import TABLE, Act, Row
from snsnode.guard.times import Times
from snsnode.guard.view import Me, Place, View
from snsnode.node.process import Identity


@dataclass(frozen=True, slots=True)
class Held:
    """A condition that holds: since when every look has found it, and about what. Monotonic seconds."""

    row: str
    what: Hashable
    since_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What an observer remembers of its looks. Times are monotonic seconds."""

    held: tuple[Held, ...] = ()
    looked_s: float | None = None

    def since_s(self, row: Row, what: Hashable) -> float | None:
        """Return since when ``row`` has held of ``what``; None where it did not at the last look."""
        return next((h.since_s for h in self.held if h.row == row.name and h.what == what), None)


@dataclass(frozen=True, slots=True)
class Action:
    """What to do now. ``victim`` is the process to end, and void where it is gone; None for the other acts."""

    act: Act
    place: Place
    cause: str
    row: str
    victim: Identity | None = None


Verdict = tuple[Memory, tuple[Action, ...]]


def judge(
    memory: Memory, view: View, me: Me, now_s: float, settings: Times, table: Sequence[Row] = TABLE
) -> Verdict:
    """Return what ``me`` remembers of this look, and what it does now: one action for each place at most.

    After an END all conditions of that place begin anew: a process that a system call keeps alive is signalled
    again after the same patience. The other acts are given at every look while their condition holds.
    """
    if memory.looked_s is not None and now_s - memory.looked_s > late_s(me, view, settings):
        memory = Memory()
    held: list[Held] = []
    actions: dict[Place, Action] = {}
    for row in table:
        what = row.holds(view) if row.me is me else None
        if what is None:
            continue
        before_s = memory.since_s(row, what)
        since_s = now_s if before_s is None else before_s
        if now_s - since_s >= row.patience_s(settings) and row.place not in actions:
            actions[row.place] = Action(row.act, row.place, row.cause, row.name, _victim(row, view, what))
        held.append(Held(row.name, what, since_s))
    ended = {action.place for action in actions.values() if action.act is Act.END}
    names = {row.name for row in table if row.place in ended} if ended else ()
    return Memory(tuple(h for h in held if h.row not in names), now_s), tuple(actions.values())


def late_s(me: Me, view: View, settings: Times) -> float:
    """Return after how many seconds without a look ``me`` did not run itself.

    A spare beside its slave looks once it has asked the slave, which it does at each interval. It may have been
    away while it asked: a silence of that time says nothing.
    """
    if me is Me.SUPERVISORD:
        return times.SUPERVISORD_LATE_S
    if me is Me.SPARE and not view.alone:
        return settings.interval_s + settings.timeout_s + times.LATE_S
    return times.TICK_S + times.LATE_S


def due_s(memory: Memory, view: View, me: Me, settings: Times, table: Sequence[Row] = TABLE) -> float | None:
    """Return when the first row acts if the view stays as it is; None where none would.

    What the last look did not find, or has just ended, counts from the next look on only.
    """
    due = []
    for row in table:
        what = row.holds(view) if row.me is me else None
        if what is not None and (since_s := memory.since_s(row, what)) is not None:
            due.append(since_s + row.patience_s(settings))
    return min(due, default=None)


def _victim(row: Row, view: View, what: Hashable) -> Identity | None:
    if row.act is not Act.END:
        return None
    # A spare that was sent in or dismissed holds no lock that shows it: the condition itself names it.
    return what if isinstance(what, Identity) else view.at(row.place).identity
