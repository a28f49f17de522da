"""The search: through every state, in layers of as many faults; then the longest way back from each.

A layer holds the states that take so many faults to reach, and no fewer. Whatever can happen after a state that
was reached with fewer has been seen when more were still to come, so such a state is never searched twice: of a
second fault, what is new is what strikes while the first is not yet healed.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from snsnode.guard import invariants
from tests.explorer.back import Calm, WayBack
from tests.explorer.disturbances import disturbances
from tests.explorer.folds import canonical
from tests.explorer.ground import Violation
from tests.explorer.hands import first_state
from tests.explorer.setup import Setup
from tests.explorer.state import Process, State, identity, is_well
from tests.explorer.steps import Step, successors

HOUR_S = 3600.0


@dataclass
class Found:
    """A violation, with its shortest story."""

    what: str
    story: tuple[Step, ...]


@dataclass
class Report:
    """What a search saw."""

    setup: str
    faults: int
    states: int = 0
    layers: list[int] = field(default_factory=list)  # the states that take no fault, one, two …
    seconds: float = 0.0
    cpu_s: float = 0.0  # of those seconds, what the search had of a core
    finished: bool = False
    bound_s: float = 0.0  # the longest way from any state back to service, without a further fault
    found: Found | None = None
    slowest: tuple[Step, ...] = ()
    said: frozenset[str] = frozenset()  # all that any step between two faults was said to do


class Wrong(Exception):
    """A property is broken: what happened, and the story that leads to it."""

    def __init__(self, what: str, story: tuple[Step, ...]) -> None:
        super().__init__(what)
        self.what, self.story = what, story


class Search:
    """One search. States are numbered in the order in which they are met."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._number: dict[State, int] = {}
        self._pool: dict[Process, Process] = {}
        self.states: list[State] = []
        self._origin: list[tuple[int, Step]] = []
        self.calm: Calm = []
        self._queue: deque[int] = deque()
        self._add(canonical(first_state(setup), setup), -1, Step("supervisord launches a slave"))

    def _add(self, state: State, before: int, step: Step) -> int:
        found = self._number.get(state)
        if found is not None:
            return found
        serving = [
            identity(p.pid) for p in state.processes if p.kind == "master" and p.stage == "serving" and p.runs
        ]
        if broken := invariants.of_serving(serving):
            raise Wrong(broken[0], (*self.story(before), step))
        pool = self._pool
        state = state._replace(processes=tuple(pool.setdefault(p, p) for p in state.processes))
        number = self._number[state] = len(self.states)
        self.states.append(state)
        self._origin.append((before, step))
        self.calm.append([])
        self._queue.append(number)
        return number

    def layer(self, until_s: float, *, rests: bool) -> bool:
        """Go on without a fault from each state that waits; false where the time is up.

        ``rests``: no fault is to come any more, and then a pair that is wholly well stays so, as the layer without
        a fault has shown.
        """
        while self._queue:
            if time.monotonic() > until_s:
                return False
            number = self._queue.popleft()
            state = self.states[number]
            if not (rests and is_well(state, spare=self._setup.spare)):
                with self._told(number):
                    following = successors(self._setup, state)
                self.calm[number] = [(step, self._add(after, number, step)) for step, after in following]
        return True

    def break_all(self, nth: int, begin: int, until_s: float) -> bool:
        """Let every fault strike in each state from number ``begin`` on: what is new waits for the next layer."""
        for number in range(begin, len(self.states)):
            if time.monotonic() > until_s:
                return False
            with self._told(number):
                for step, after in disturbances(self._setup, self.states[number], nth):
                    self._add(after, number, step)
        return True

    @contextmanager
    def _told(self, number: int) -> Iterator[None]:
        try:
            yield
        except Violation as violation:
            raise Wrong(str(violation), (*self.story(number), Step(str(violation)))) from None

    def return_all(self) -> tuple[float, tuple[Step, ...]]:
        """Prove that all find their way back; return the longest one, in seconds, and what leads to its begin."""
        way = WayBack(self.states, self.calm)
        wrong = way.prove()
        if wrong is not None:
            what, number, circle = wrong
            raise Wrong(what, (*self.story(number), *circle))
        worst = max(way.longest_s, key=lambda number: way.longest_s[number])
        return way.longest_s[worst], self.story(worst)

    def story(self, number: int) -> tuple[Step, ...]:
        steps: list[Step] = []
        while number >= 0:
            number, step = self._origin[number]
            steps.append(step)
        return tuple(reversed(steps))


def search(setup: Setup, count: int, *, within_s: float = HOUR_S) -> Report:
    """Go through every state that ``count`` faults can lead to, and prove that each finds its way back."""
    report = Report(setup.name, count)
    began_s, cpu_s = time.monotonic(), time.process_time()
    until_s = began_s + within_s
    going = Search(setup)
    begin = 0
    try:
        for layer in range(count + 1):
            if layer:
                before, begin = begin, len(going.states)
                report.finished = going.break_all(layer - 1, before, until_s)
            report.finished = (not layer or report.finished) and going.layer(until_s, rests=0 < layer == count)
            report.layers.append(len(going.states) - begin)
            if not report.finished:
                break
        if report.finished:
            report.bound_s, report.slowest = going.return_all()
    except Wrong as wrong:
        report.found = Found(wrong.what, wrong.story)
    report.said = frozenset(step.words for following in going.calm for step, _ in following)
    report.states = len(going.states)
    report.seconds, report.cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    return report


def told(story: tuple[Step, ...]) -> str:
    """Return a story in words, with the seconds since the launch."""
    lines, now_s = [], 0.0
    for step in story:
        now_s += step.after_s
        if step.words:
            lines.append(f"{now_s:8.1f} s  {step.words}")
    return "\n".join(lines)
