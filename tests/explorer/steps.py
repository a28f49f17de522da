"""The steps of a search: what is due now, in any order; then time goes on to the next moment at which anything is.

Order of events, not ticks: between two such moments nobody does anything but look in vain, and such looks are
carried out at once (``_refreshed``): all that they change is when the observer looked last. A look that is due,
and changes nothing but its observer's own memory, commutes with every other step that is due: it is carried out
first, in one order (``_look_in_vain``).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from snsnode.guard import times
from snsnode.guard.judge import Held
from tests.explorer.folds import canonical, shifted
from tests.explorer.ground import Outlived, Violation
from tests.explorer.hands import World
from tests.explorer.setup import Setup
from tests.explorer.state import FOREVER, Process, State, Supervisor, replace, rounded


class Step(NamedTuple):
    """What led to a state: words, the seconds that passed before, and whether it was a fault."""

    words: str
    after_s: float = 0.0
    fault: bool = False


Successor = tuple[Step, State]


def successors(setup: Setup, state: State) -> list[Successor]:
    """Return what may happen next without a fault.

    Raises:
        Violation: something happens that must never happen.
    """
    looks = _looks(setup, state)
    due = list(_due(state, looks))
    if due:
        return [carried_out(setup, state, words, act) for words, act in due]
    after_s = _next_s(state, looks)
    if after_s >= FOREVER / 2:
        return []
    moved = _refreshed(setup, shifted(state, after_s, setup), after_s)
    return [(Step("", after_s), canonical(moved, setup))]


Act = Callable[[World], object]


KNOWN_GAP = "KNOWN GAP: a child that had not announced itself outlives the shutdown"
SUPERVISORD = 0  # in place of a pid
Looks = dict[int, float]  # by pid: in how many seconds its next look does something


def _looks(setup: Setup, state: State) -> Looks:
    world = World(setup, state)
    looks = {p.pid: min(p.look_s, world.due_s(p)) for p in state.processes if _watches(p)}
    if state.supervisor.condition == "ok":
        looks[SUPERVISORD] = min(state.supervisor.look_s, world.due_of_supervisor_s())
    return looks


def _watches(process: Process) -> bool:
    return process.runs and process.stage in ("serving", "ready")


def _due(state: State, looks: Looks) -> Iterator[tuple[str, Act]]:
    """Yield each thing that is due now; their order is anybody's."""
    for process in state.processes:
        pid = process.pid
        if process.heals_s <= 0:
            yield f"the {process.kind} runs again", partial(_heal, pid=pid)
        if process.left_s <= (0.001 if process.stage == "dying" else 0.0) and _may_grow(process):
            yield "", partial(World.grow, pid=pid)
        if process.killed_s <= 0 and process.stage != "dying" and _may_kill(state):
            yield f"supervisord ends the {process.kind}, which does not stop", partial(_kill, pid=pid)
        if not _watches(process):
            continue
        for news in process.news:
            if news[0] <= 0:
                yield "", partial(World.hear, pid=pid, news=news)
        if process.ask_s <= 0:
            yield "", partial(World.ask, pid=pid)
        if process.act_s <= 0:
            yield "", partial(World.act, pid=pid)
        if looks[pid] <= 0:
            yield "", partial(World.look, pid=pid)
    supervisor = state.supervisor
    if supervisor.heals_s <= 0:
        yield "supervisord runs again", _heal_supervisor
    elif looks.get(SUPERVISORD, FOREVER) <= 0:
        yield "", World.look_of_supervisor
    awaited = any(_is_awaited(p, supervisor.child) for p in state.processes)
    if supervisor.condition == "leaving" and not awaited:
        yield "supervisord has shut down", _shut_down


def _is_awaited(process: Process, child: int) -> bool:
    """Tell whether supervisord waits for this one before it ends itself."""
    return process.place in ("slave", "master") or process.pid == child


def _shut_down(world: World) -> None:
    world.state = world.state._replace(supervisor=Supervisor("gone"), closing=False)


def _may_kill(state: State) -> bool:
    return state.supervisor.condition in ("ok", "leaving")


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


def carried_out(setup: Setup, state: State, words: str, act: Act) -> Successor:
    world = World(setup, state)
    try:
        act(world)
    except Outlived:
        if not setup.known:
            raise
        gap = State(supervisor=Supervisor("gone"))
        return Step(KNOWN_GAP), gap
    except Violation as found:
        raise Violation("; ".join([*world.told, str(found)])) from None
    _notice(world, state)
    _look_in_vain(world)
    told = "; ".join([words] * bool(words) + world.told)
    return Step(told), canonical(world.state, setup)


def _notice(world: World, before: State) -> None:
    """Let every observer whose view has changed look at its next turn."""
    old = World(world.setup, before)
    was_there, there = _places(before), _places(world.state)
    for process in world.state.processes:
        if process.stage not in ("serving", "ready"):
            continue
        was = before.find(process.pid)
        known = was is not None and was.stage == process.stage
        if known and was is not None and _sight(old, was, was_there) == _sight(world, process, there):
            continue
        looked_s = None if process.kind == "spare" else process.watch.tick_s
        look_s = 0.0 if looked_s is None else max(0.0, rounded(looked_s + times.TICK_S))
        if process.look_s > look_s:
            world.change(process.pid, look_s=look_s)
    if _sight_of_supervisor(old, was_there) != _sight_of_supervisor(world, there):
        look_s = min(world.state.supervisor.look_s, 0.0)
        world.state = replace(world.state, supervisor=replace(world.state.supervisor, look_s=look_s))


def _places(state: State) -> object:
    """Return what everybody can see. A counter that moves is no news."""
    held = sorted((p.kind, p.pid, p.letter) for p in state.processes if p.place is not None)
    return held, state.stopped, state.paused, state.closing, state.waits_s > 0


def _sight(world: World, process: Process, places: object) -> object:
    """Return what a look of this observer would find, its own memory aside."""
    if process.kind == "spare":
        alone = world.find(process.parent) is None
        waits = process.act == ""
        return places, process.parent, alone, process.answers, waits, world.unannounced(process.child)
    partner = world.find(process.watch.partner.pid) if process.watch.partner else None
    seen = (partner.letter, partner.runs, partner.stage) if partner else None
    keeper = process.keeper
    return places, seen, keeper[:3], world.unannounced(keeper.child)


def _sight_of_supervisor(world: World, places: object) -> object:
    supervisor = world.state.supervisor
    return places, supervisor.child, supervisor.asked, world.unannounced(supervisor.child)


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


def _next_s(state: State, looks: Looks) -> float:
    """Return the seconds to the next thing that is due."""
    at = [state.supervisor.heals_s, state.waits_s or FOREVER, *looks.values()]
    for p in state.processes:
        at.append(p.heals_s)
        if _may_kill(state):
            at.append(p.killed_s)
        if _may_grow(p):
            at.append(p.left_s)
        if _watches(p):
            at += [p.ask_s, p.act_s, *(when for when, _, _ in p.news)]
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
        held = tuple(replace(h, since_s=0.0) if moves and _counts(h) else h for h in supervisor.rows.held)
        rows = replace(supervisor.rows, held=held, looked_s=0.0)
        world.state = replace(world.state, supervisor=replace(supervisor, rows=rows))
    return world.state


def _counts(held: Held) -> bool:
    """Tell whether the condition is about a counter that has moved, so that it began anew at each look."""
    return isinstance(held.what, tuple) and isinstance(held.what[-1], int)


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
