"""Is the explorer's world the real one? Compares what was recorded of a cluster with what it reaches.

A recorded look is projected on what the explorer can tell apart: who holds each place, running or frozen, and
what the observer knows of its own spares and children. Each change from one look of an observer to its next must
be a way through the explorer's steps, faults included, of at most as many steps as the time between allows. Each
change of phase, verdict and launch of a partner's machine must be one that the explorer makes, for the same kind
of event.

The projection is coarser than the search: intents, the budget's wait and the times are left out (a real start
takes a tenth of the explorer's second); a process that runs, waits for its disk or hangs is one. A look is passed
over where it could not look, found a lock whose holder had not announced itself, or a child that had died and was
not reaped, or where a spare's line to its slave ended before or after its slave: those moments are none of the
explorer's.
"""

import random
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from snsnode.guard import machine
from snsnode.guard.times import Times
from snsnode.guard.view import Me, View
from snsnode.node.places import Seen
from snsnode.node.process import Identity
from tests.chaos.replay import Look, Replayed, Step
from tests.explorer.disturbances import disturbances
from tests.explorer.folds import canonical
from tests.explorer.ground import Violation
from tests.explorer.hands import World, first_state
from tests.explorer.setup import Setup
from tests.explorer.state import State
from tests.explorer.steps import successors

STEPS_AT_ONCE = 4  # so many things may happen between two looks that are a tick apart
STEPS_A_SECOND = 10.0
WITHIN_S = 120.0
STEPS_A_TURN = 1000
MISSED_MAX, MISSED_PART = 3, 0.02  # two launchers at the very same moment are rare on a walk
FAULT_CHANCE = 0.1  # of a step
BURST_CHANCE = 0.4  # of the next one
END_CHANCE = 0.002  # of beginning anew

Node = tuple[str, ...]
Moved = tuple[str, str, str, str, str]  # who watches, its phase, the event, its new phase, what it does


@dataclass
class Known:
    """What the explorer reaches: each observer's views and their neighbours, and the moves of each machine."""

    ways: dict[Me, dict[Node, set[Node]]] = field(default_factory=lambda: {me: {} for me in Me})
    moves: set[Moved] = field(default_factory=set)
    violations: set[str] = field(default_factory=set)  # what must never happen, and did
    steps: int = 0


@dataclass
class Compared:
    """What a comparison saw; without ``problems`` the explorer knows it all."""

    changes: int = 0
    by_length: Counter[int] = field(default_factory=Counter)
    passed_over: int = 0
    moves: int = 0
    steps: int = 0  # of the explorer
    problems: Counter[str] = field(default_factory=Counter)

    @property
    def is_known(self) -> bool:
        """Tell whether the explorer met it all, but for what a walk of some minutes may miss by chance."""
        return sum(self.problems.values()) <= max(MISSED_MAX, MISSED_PART * (self.changes + self.moves))

    def __str__(self) -> str:
        lengths = ", ".join(f"{n:,} in {length}" for length, n in sorted(self.by_length.items()))
        return (
            f"met by the explorer within {self.steps:,} steps: {self.changes:,} changes of views ({lengths} of "
            f"them), {self.moves:,} moves of the machines; {self.passed_over:,} looks passed over, "
            f"{sum(self.problems.values())} not met"
        )


# --- the projection -------------------------------------------------------------------------------------------


def project(me: Me, view: View) -> Node | None:
    """Return what the explorer can tell of this look; None where it knows no such moment."""
    places = {Me.SLAVE: ("master", "spare"), Me.SPARE: ("slave", "master")}.get(me, ("slave", "master", "spare"))
    if me is Me.SPARE and view.alone == (view.ours is not None and view.slave.identity == view.ours):
        return None
    signs = []
    for place in places:
        seen: Seen = getattr(view, place)
        if not seen.known or (seen.identity is None and seen.taken and view.born is None):
            return None
        promoted = place == "spare" and seen.identity is not None and seen.identity == view.master.identity
        signs.append("-" if seen.identity is None or promoted else seen.letter if seen.is_frozen else "x")
    match me:
        case Me.SLAVE:
            own = [_is(view.ours, view.spare), "sent" * bool(view.sent), "dismissed" * bool(view.dismissed)]
        case Me.SPARE:
            own = ["alone" * view.alone, _is(view.ours, view.slave)]
        case _:
            own = []
    return (*map(str, signs), *own, "born" * bool(view.born))


def _is(ours: Identity | None, seen: Seen) -> str:
    return "" if ours is None else "ours" if ours == seen.identity else "ours is elsewhere"


def move(step: Step) -> Moved | None:
    """Return a machine's change of phase, verdict or launch; None where there is none, or a stop is the cause."""
    if not step.wanted:
        return None
    acts = [
        f"Clear {action.cause.name}" if isinstance(action, machine.Clear) else "Launch"
        for action in step.actions
        if not isinstance(action, machine.Beat)
    ]
    if step.before.phase is step.after.phase and not acts:
        return None
    return step.me, step.before.phase.name, _event(step.event), step.after.phase.name, " ".join(acts)


def _event(event: machine.Event) -> str:
    match event:
        case machine.Seen(_, settled):
            return "Seen, settled" if settled else "Seen"
        case _:
            return type(event).__name__


# --- what the explorer knows ----------------------------------------------------------------------------------


def _struck(setup: Setup, state: State) -> list[State]:
    """Return what may follow by a fault, or by the end of one: what is frozen may be thawed."""
    thawed = [
        canonical(state.put(process._replace(heals_s=0.0)), setup)
        for process in state.processes
        if process.condition == "frozen"
    ]
    return thawed + [after for _, after in disturbances(setup, state, 0)]


class Walker:
    """Walks at random through the explorer's steps and faults, and notes what it meets on the way.

    A search to the end meets it all, but only with as few faults as it has time for; a soak has hundreds.
    """

    def __init__(self, setup: Setup, seed: int = 1) -> None:
        self.known = Known()
        self._setup = replace(setup, step=self._step)
        self._random = random.Random(seed)
        self._state = self._first()
        self._breaks = False  # the last step was a fault

    def walk(self, steps: int) -> None:
        """Go on for so many steps."""
        for _ in range(steps):
            self.known.steps += 1
            try:
                choice = self._choice()
            except Violation as violation:
                self.known.violations.add(str(violation))
                choice = []
            if not choice or self._random.random() < END_CHANCE:
                self._state = self._first()
                continue
            after = self._random.choice(choice)
            self._note(after)
            self._state = after

    def _choice(self) -> list[State]:
        quiet = [after for _, after in successors(self._setup, self._state)]
        chance = BURST_CHANCE if self._breaks else FAULT_CHANCE
        self._breaks = broken = self._random.random() < chance or not quiet
        return _struck(self._setup, self._state) if broken else quiet

    def _first(self) -> State:
        return canonical(first_state(self._setup), self._setup)

    def _note(self, after: State) -> None:
        before = _views(self._setup, self._state)
        for me, node in _views(self._setup, after).items():
            ways = self.known.ways[me]
            ways.setdefault(node, set())
            if me in before and before[me] != node:
                ways.setdefault(before[me], set()).add(node)

    def _step(
        self, before: machine.State, event: machine.Event, now_s: float, rules: machine.Rules, *, wanted: bool
    ) -> machine.Outcome:
        after, actions = machine.step(before, event, now_s, rules, wanted=wanted)
        found = move(Step(now_s, "slave" if rules.sends else "master", before, event, after, actions, wanted))
        if found is not None:
            self.known.moves.add(found)
        return after, actions


def _views(setup: Setup, state: State) -> dict[Me, Node]:
    world, found = World(setup, state), {}
    observers = [(Me.SUPERVISORD, world.view_of_supervisor())]
    for process in state.processes:
        if process.kind in ("slave", "spare") and process.stage in ("serving", "ready"):
            observers.append((Me(process.kind), world.view_of(process)))
    for me, view in observers:
        node = project(me, view)
        if node is not None:
            found[me] = node
    return found


def explained(replayed: Replayed, settings: Times, within_s: float = WITHIN_S) -> Compared:
    """Walk until the explorer has met all that was recorded, for ``within_s`` at most; return what it has."""
    walkers = [Walker(Setup("compared", settings, budget_wait_s=wait_s)) for wait_s in (0.0, 2.0)]
    until_s = time.monotonic() + within_s
    while True:
        for walker in walkers:
            walker.walk(STEPS_A_TURN)
        done = compare(replayed, _joined([walker.known for walker in walkers]))
        if not done.problems or time.monotonic() > until_s:
            return done


def _joined(all_known: Iterable[Known]) -> Known:
    joined = Known()
    for known in all_known:
        joined.moves |= known.moves
        joined.violations |= known.violations
        joined.steps += known.steps
        for me, ways in known.ways.items():
            for node, after in ways.items():
                joined.ways[me].setdefault(node, set()).update(after)
    return joined


# --- the comparison -------------------------------------------------------------------------------------------


def compare(replayed: Replayed, known: Known) -> Compared:
    """Compare what was recorded with what the explorer knows."""
    done = Compared(steps=known.steps, problems=Counter(f"the explorer: {what}" for what in known.violations))
    for _, story in replayed.stories:
        for me in (Me.SLAVE, Me.SPARE, Me.SUPERVISORD):
            looks = [s for s in story if isinstance(s, Look) and s.me is me and not s.place]
            _compare_looks(me, looks, known, done)
        for step in story:
            found = move(step) if isinstance(step, Step) else None
            if found is not None:
                done.moves += 1
                if found not in known.moves:
                    done.problems[f"the {found[0]}'s machine: {found[2]} in {found[1]} leads to {found[3]} "
                                  f"and {found[4] or 'nothing'}"] += 1  # fmt: skip
    return done


def _compare_looks(me: Me, looks: Iterable[Look], known: Known, done: Compared) -> None:
    projected: list[tuple[Look, Node]] = []
    announced: set[Identity] = set()
    for look in looks:
        # A child that was seen in its place, and is in none now, has died: its parent has not reaped it yet.
        node = None if look.view.born in announced else project(me, look.view)
        if look.view.slave.identity is not None:
            announced.add(look.view.slave.identity)
        if node is None:
            done.passed_over += 1
        else:
            projected.append((look, node))
    for (before, node), (after, to) in pairwise(projected):
        left = _left(me, before.view, after.view)
        if node == to and not left:
            continue
        done.changes += 1
        steps_max = STEPS_AT_ONCE + int((after.at_s - before.at_s) * STEPS_A_SECOND)
        length = way(known.ways[me], node, to, left, steps_max)
        if length is None:
            done.problems[f"{me.value}: from {node} to {to}" + f", another at {sorted(left)}" * bool(left)] += 1
        else:
            done.by_length[length] += 1


def _left(me: Me, before: View, after: View) -> frozenset[int]:
    """Return the places whose holder is another one: it must have been empty in between."""
    places = {Me.SLAVE: ("master", "spare"), Me.SPARE: ("slave", "master")}.get(me, ("slave", "master", "spare"))
    found = set()
    for number, place in enumerate(places):
        was, now = getattr(before, place).identity, getattr(after, place).identity
        if was is not None and now is not None and was != now and now != before.spare.identity:
            found.add(number)
    return frozenset(found)


def way(ways: dict[Node, set[Node]], start: Node, goal: Node, left: frozenset[int], steps_max: int) -> int | None:
    """Return the steps from ``start`` to ``goal``, on which each place of ``left`` is empty once; None: no way."""
    todo, seen = deque([(start, left, 0)]), {(start, left)}
    while todo:
        node, still, length = todo.popleft()
        if node == goal and not still:
            return length
        if length == steps_max:
            continue
        for after in ways.get(node, ()):
            rest = frozenset(number for number in still if after[number] != "-")
            if (after, rest) not in seen:
                seen.add((after, rest))
                todo.append((after, rest, length + 1))
    return None
