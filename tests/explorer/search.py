"""The search: breadth-first through every state, with faults at every moment; then the longest way back."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from snsnode.guard import times
from snsnode.guard.machine import Phase
from snsnode.guard.view import View
from tests.explorer.state import FOREVER, Process, State, canonical, replace, rounded, shifted
from tests.explorer.world import Setup, Violation, World, first_state

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Step:
    """What led to a state: words, the seconds that passed before, and whether it was a fault."""

    words: str
    after_s: float = 0.0
    fault: bool = False


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
    seconds: float = 0.0
    finished: bool = False
    bound_s: float = 0.0  # the longest way from any state back to service, without a further fault
    found: Found | None = None
    slowest: tuple[Step, ...] = ()


Successor = tuple[Step, State]
Calm = dict[State, list[Successor]]  # what follows without a fault
Origin = dict[State, tuple[State | None, Step]]


def successors(setup: Setup, state: State) -> list[Successor]:
    """Return what may happen next without a fault.

    Raises:
        Violation: something happens that must never happen.
    """
    due = list(_due(setup, state))
    if due:
        return [_carried_out(setup, state, words, act) for words, act in due]
    after_s = _next_s(setup, state)
    if after_s >= FOREVER / 2:
        return []
    moved = _refreshed(setup, shifted(state, after_s, setup.cap_s), after_s)
    return [(Step("", after_s), canonical(moved))]


Act = Callable[[World], object]


def _due(setup: Setup, state: State) -> Iterator[tuple[str, Act]]:
    """Yield each thing that is due now; their order is anybody's."""
    for process in state.processes:
        pid = process.pid
        if process.heals_s <= 0:
            yield f"the {process.kind} runs again", partial(_heal, pid=pid)
        if process.left_s <= (0.001 if process.stage == "dying" else 0.0) and _may_grow(process):
            yield "", partial(World.grow, pid=pid)
        if process.killed_s <= 0 and process.stage != "dying":
            yield f"supervisord ends the {process.kind}, which does not stop", partial(_kill, pid=pid)
        if not process.runs or process.stage in ("starting", "locked"):
            continue
        for news in process.news:
            if news[0] <= 0:
                yield "", partial(World.hear, pid=pid, news=news)
        if process.stage == "leaving":
            continue
        if process.ask_s <= 0:
            yield "", partial(World.ask, pid=pid)
        if process.act_s <= 0:
            yield "", partial(World.act, pid=pid)
        if min(process.look_s, World(setup, state).due_s(process)) <= 0:
            yield "", partial(World.look, pid=pid)
    supervisor = state.supervisor
    if supervisor.heals_s <= 0:
        yield "supervisord runs again", _heal_supervisor
    elif supervisor.condition == "ok" and min(supervisor.look_s, World(setup, state).due_of_supervisor_s()) <= 0:
        yield "", World.look_of_supervisor


def _may_grow(process: Process) -> bool:
    if process.stage == "dying":
        return process.condition != "disk"
    return process.condition == "ok"


def _heal(world: World, pid: int) -> None:
    process = world.change(pid, condition="ok", heals_s=FOREVER, well_s=0.0)
    if process.stage in ("serving", "ready"):
        world.wake(pid)


def _kill(world: World, pid: int) -> None:
    world.change(pid, killed_s=FOREVER)
    world.kill(pid)


def _heal_supervisor(world: World) -> None:
    healed = replace(world.state.supervisor, condition="ok", heals_s=FOREVER, look_s=0.0)
    world.state = replace(world.state, supervisor=healed)


def _carried_out(setup: Setup, state: State, words: str, act: Act) -> Successor:
    world = World(setup, state)
    try:
        act(world)
    except Violation as found:
        raise Violation("; ".join([*world.told, str(found)])) from None
    _notice(world, state)
    _look_in_vain(world)
    told = "; ".join([words] * bool(words) + world.told)
    return Step(told), canonical(world.state)


def _notice(world: World, before: State) -> None:
    """Let every observer whose view has changed look at its next turn."""
    old = World(world.setup, before)
    for process in world.state.processes:
        if process.stage not in ("serving", "ready"):
            continue
        was = before.find(process.pid)
        if was is not None and was.stage == process.stage and _sight(old, was) == _sight(world, process):
            continue
        looked_s = None if process.kind == "spare" else process.watch.tick_s
        look_s = 0.0 if looked_s is None else max(0.0, rounded(looked_s + times.TICK_S))
        if process.look_s > look_s:
            world.change(process.pid, look_s=look_s)
    if _bare(old.view_of_supervisor()) != _bare(world.view_of_supervisor()):
        look_s = min(world.state.supervisor.look_s, 0.0)
        world.state = replace(world.state, supervisor=replace(world.state.supervisor, look_s=look_s))


def _look_in_vain(world: World) -> None:
    """Carry out at once each look that changes nothing but the observer's memory: its order does not matter."""
    for process in world.state.processes:
        if process.look_s <= 0 and process.runs and process.stage in ("serving", "ready"):
            trial = World(world.setup, world.state)
            trial.look(process.pid)
            if not trial.told and _others(trial.state, process.pid) == _others(world.state, process.pid):
                after = trial.find(process.pid)
                assert after is not None
                if after.keeper == process.keeper and after.busy == process.busy and after.news == process.news:
                    world.state = trial.state
    supervisor = world.state.supervisor
    if supervisor.condition == "ok" and supervisor.look_s <= 0:
        trial = World(world.setup, world.state)
        trial.look_of_supervisor()
        waiting = trial.state.supervisor.asked
        if not trial.told and not waiting and trial.state.processes == world.state.processes:
            world.state = trial.state


def _others(state: State, pid: int) -> tuple[object, ...]:
    return (tuple(p for p in state.processes if p.pid != pid), state.waits_s)


def _sight(world: World, process: Process) -> object:
    """Return what a look of this observer would find, its own memory aside."""
    role = "master" if process.kind == "slave" else "slave"
    holder = world.state.holder(role)  # type: ignore[arg-type]
    partner = world.find(process.watch.partner.pid) if process.watch.partner else None
    seen = (partner.letter, partner.runs, partner.stage) if partner else None
    return (holder.pid if holder else 0, seen, world.state.wanted(role), _bare(world.view_of(process)))


def _bare(view: View) -> View:
    """Leave out counters: that they move is no news, that they stand still is seen by whoever waits for it."""
    return replace(view, slave=replace(view.slave, progress=None), master=replace(view.master, progress=None))


def _next_s(setup: Setup, state: State) -> float:
    """Return the seconds to the next thing that is due."""
    world = World(setup, state)
    at = [state.supervisor.heals_s, state.waits_s or FOREVER]
    if state.supervisor.condition == "ok":
        at += [state.supervisor.look_s, world.due_of_supervisor_s()]
    for p in state.processes:
        at += [p.heals_s, p.killed_s]
        if _may_grow(p):
            at.append(p.left_s)
        if p.runs and p.stage not in ("starting", "locked"):
            at += [when for when, _, _ in p.news]
            if p.stage != "leaving":
                at += [p.ask_s, p.act_s, p.look_s, world.due_s(p)]
    return min(at)


def _refreshed(setup: Setup, state: State, after_s: float) -> State:
    """Let each observer that runs have looked all the while, in vain: a look in between changes nothing else."""
    if after_s < times.TICK_S:
        return state
    world = World(setup, state)
    for process in state.processes:
        if not process.runs or process.stage not in ("serving", "ready"):
            continue
        if process.kind != "spare" and not process.busy and process.watch.tick_s is not None:
            _tick_in_vain(world, process.pid, after_s)
        rows = world.find(process.pid).rows  # type: ignore[union-attr]
        if process.kind != "master" and rows.looked_s is not None:
            world.change(process.pid, rows=replace(rows, looked_s=0.0))
    supervisor = world.state.supervisor
    if supervisor.condition == "ok" and supervisor.rows.looked_s is not None:
        slave = world.state.holder("slave")
        moves = slave is not None and slave.runs
        held = tuple(
            replace(h, since_s=0.0) if moves and h.row == "unmoved slave" else h for h in supervisor.rows.held
        )
        rows = replace(supervisor.rows, held=held, looked_s=0.0)
        world.state = replace(world.state, supervisor=replace(supervisor, rows=rows))
    return world.state


def _tick_in_vain(world: World, pid: int, after_s: float) -> None:
    process = world.find(pid)
    assert process is not None
    watch = process.watch
    partner = world.find(watch.partner.pid) if watch.partner else None
    before_s = max(watch.tick_s or 0.0, -times.TICK_S)
    moves = partner is not None and partner.runs and watch.progress is not None
    progress_s = max(watch.progress_s, -times.TICK_S) if moves else watch.progress_s
    if not world.state.wanted("master" if process.kind == "slave" else "slave"):
        watch = replace(watch, beat_s=max(watch.beat_s, -times.TICK_S), missed=0, frozen_seen=0)
    world.change(pid, watch=replace(watch, tick_s=before_s, progress_s=progress_s))


# --- faults ----------------------------------------------------------------------------------------------------


def faults(setup: Setup, state: State) -> Iterator[Successor]:
    """Yield what may break now."""
    if not state.faults:
        return
    less = replace(state, faults=state.faults - 1)
    for words, act in _breaks(state):
        if not setup.only or words in setup.only:
            step, after = _carried_out(setup, less, f"FAULT: the {words}", act)
            yield replace(step, fault=True), after


def _breaks(state: State) -> Iterator[tuple[str, Act]]:
    for process in state.processes:
        if process.stage == "dying":
            continue
        yield f"{process.kind} is killed", partial(World.kill, pid=process.pid)
        if process.condition == "ok":
            for words, condition, heals_s in _illnesses(process):
                yield f"{process.kind} {words}", partial(_ail, process.pid, condition, heals_s)
    if state.supervisor.condition == "ok":
        yield "supervisord is killed", partial(_supervisor, condition="dead")
        yield "supervisord is frozen", partial(_supervisor, condition="frozen")


def _ail(pid: int, condition: str, heals_s: float, world: World) -> None:
    world.change(pid, condition=condition, heals_s=heals_s, well_s=0.0)


def _illnesses(process: Process) -> Iterator[tuple[str, str, float]]:
    """Yield what may befall a process. A blocked loop of a slave or a spare is as silent as a deadlock."""
    yield "is frozen", "frozen", FOREVER
    yield "deadlocks", "deadlocked", FOREVER
    if process.kind == "master":
        yield "has its event loop blocked", "blocked", FOREVER
    if process.kind != "spare":
        yield "gets no CPU for 2 s", "starved", 2.0
        yield "waits 5 s for its disk", "disk", 5.0


def _supervisor(world: World, condition: str) -> None:
    broken = replace(world.state.supervisor, condition=condition)
    world.state = replace(world.state, supervisor=broken)


# --- the search ------------------------------------------------------------------------------------------------


def serves(state: State) -> bool:
    """Tell whether a master serves."""
    return any(p.kind == "master" and p.stage == "serving" and p.runs for p in state.processes)


def is_well(state: State, setup: Setup) -> bool:
    """Tell whether the whole pair runs, every watch is content, and nothing is under way."""
    places = {"slave", "master", "spare"} if setup.spare else {"slave", "master"}
    if len(state.processes) != len(places) or state.supervisor.condition != "ok" or state.supervisor.asked:
        return False
    for p in state.processes:
        if p.condition != "ok" or p.stage not in ("serving", "ready") or p.news or p.busy or p.act:
            return False
        if p.kind != "spare" and (p.watch.phase is not Phase.UP or p.watch.frozen_seen or p.watch.missed):
            return False
        if any(held.row != "unmoved slave" for held in p.rows.held) or p.look_s <= 0:
            return False
        places.discard(p.kind)
    return not places and state.wanted("slave") and state.wanted("master")


def somebody_can_act(state: State) -> bool:
    """Tell whether anybody is left who runs, or will."""
    able = any(p.condition in ("ok", "starved", "disk") and p.stage != "dying" for p in state.processes)
    return able or state.supervisor.condition in ("ok", "starved")


def search(setup: Setup, count: int, *, within_s: float = HOUR_S, states_max: int = 5_000_000) -> Report:
    """Go through every state that ``count`` faults can lead to, and prove that each finds its way back."""
    report = Report(setup.name, count)
    began_s = time.monotonic()
    first = canonical(first_state(setup, count))
    origin: Origin = {first: (None, Step("supervisord launches a slave"))}
    calm: Calm = {}
    queue = deque([first])
    while queue:
        if time.monotonic() - began_s > within_s or len(origin) > states_max:
            break
        state = queue.popleft()
        try:
            # Without a fault to come, a pair that is wholly well stays so: the search without faults has shown it.
            quiet = [] if not state.faults and count and is_well(state, setup) else successors(setup, state)
            calm[state] = quiet
            broken = list(faults(setup, state))
        except Violation as violation:
            report.found = Found(str(violation), (*_story(origin, state), Step(str(violation))))
            break
        for step, after in (*quiet, *broken):
            if after not in origin:
                origin[after] = state, step
                queue.append(after)
    else:
        report.finished = True
        _prove_return(report, calm, origin)
    report.states = len(origin)
    report.seconds = time.monotonic() - began_s
    return report


class _Return:
    """The longest time from any state to service along steps without a fault; a circle is for ever."""

    def __init__(self, calm: Calm) -> None:
        self._calm = calm
        self.longest_s: dict[State, float] = {}
        self._so_far_s: dict[State, float] = {}  # of the states on the path
        self._stack: list[tuple[State, Iterator[Successor]]] = []

    def prove(self) -> tuple[str, State, list[Step]] | None:
        """Walk from every state; return what goes wrong, where, and the steps of a circle; None: nothing."""
        for start in self._calm:
            self._enter(start)
            while self._stack:
                wrong = self._walk()
                if wrong is not None:
                    return wrong
        return None

    def _enter(self, state: State) -> float | None:
        """Return the known time; None after putting the state on the path."""
        if state in self.longest_s:
            return self.longest_s[state]
        wanted = state.wanted("master") and state.wanted("slave")
        if serves(state) or not wanted or not somebody_can_act(state):
            self.longest_s[state] = 0.0
            return 0.0
        self._so_far_s[state] = 0.0
        self._stack.append((state, iter(self._calm[state])))
        return None

    def _walk(self) -> tuple[str, State, list[Step]] | None:
        state, rest = self._stack[-1]
        if not self._calm[state]:
            return "nothing happens any more, and nobody serves", state, []
        following = next(rest, None)
        if following is None:
            self._stack.pop()
            self.longest_s[state] = self._so_far_s.pop(state)
            if self._stack:
                self._take(self._stack[-1][0], self._step(self._stack[-1][0], state), self.longest_s[state])
            return None
        step, after = following
        if after in self._so_far_s:
            path = [on_path for on_path, _ in self._stack]
            circle = [self._step(a, b) for a, b in itertools.pairwise(path[path.index(after) :])]
            again = Step("and from here on, again and again:")
            return "the pair goes in circles, and nobody serves", after, [again, *circle, step]
        known_s = self._enter(after)
        if known_s is not None:
            self._take(state, step, known_s)
        return None

    def _step(self, before: State, after: State) -> Step:
        return next(step for step, found in self._calm[before] if found == after)

    def _take(self, state: State, step: Step, rest_s: float) -> None:
        self._so_far_s[state] = max(self._so_far_s[state], rounded(step.after_s + rest_s))


def _prove_return(report: Report, calm: Calm, origin: Origin) -> None:
    way = _Return(calm)
    wrong = way.prove()
    if wrong is not None:
        what, state, circle = wrong
        report.found = Found(what, (*_story(origin, state), *circle))
    elif way.longest_s:
        worst = max(way.longest_s, key=lambda state: way.longest_s[state])
        report.bound_s, report.slowest = way.longest_s[worst], _story(origin, worst)


def _story(origin: Origin, state: State) -> tuple[Step, ...]:
    steps: list[Step] = []
    at: State | None = state
    while at is not None:
        at, step = origin[at]
        steps.append(step)
    return tuple(reversed(steps))


def told(story: tuple[Step, ...]) -> str:
    """Return a story in words, with the seconds since the launch."""
    lines, now_s = [], 0.0
    for step in story:
        now_s += step.after_s
        if step.words:
            lines.append(f"{now_s:8.1f} s  {step.words}")
    return "\n".join(lines)
