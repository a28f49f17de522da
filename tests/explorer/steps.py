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
from snsnode.guard.view import View
from tests.explorer.folds import canonical, shifted
from tests.explorer.hands import Violation, World
from tests.explorer.setup import Setup
from tests.explorer.state import FOREVER, Process, State, replace, rounded


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
    due = list(_due(setup, state))
    if due:
        return [_carried_out(setup, state, words, act) for words, act in due]
    after_s = _next_s(setup, state)
    if after_s >= FOREVER / 2:
        return []
    moved = _refreshed(setup, shifted(state, after_s, setup), after_s)
    return [(Step("", after_s), canonical(moved, setup))]


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
    return Step(told), canonical(world.state, setup)


def _notice(world: World, before: State) -> None:
    """Let every observer whose view has changed look at its next turn."""
    old = World(world.setup, before)
    same = _shown(before) == _shown(world.state)
    for process in world.state.processes:
        if process.stage not in ("serving", "ready"):
            continue
        was = before.find(process.pid)
        if same and was is process:
            continue
        if was is not None and was.stage == process.stage and _sight(old, was) == _sight(world, process):
            continue
        looked_s = None if process.kind == "spare" else process.watch.tick_s
        look_s = 0.0 if looked_s is None else max(0.0, rounded(looked_s + times.TICK_S))
        if process.look_s > look_s:
            world.change(process.pid, look_s=look_s)
    if same and before.supervisor is world.state.supervisor:
        return
    if _bare(old.view_of_supervisor()) != _bare(world.view_of_supervisor()):
        look_s = min(world.state.supervisor.look_s, 0.0)
        world.state = replace(world.state, supervisor=replace(world.state.supervisor, look_s=look_s))


def _shown(state: State) -> object:
    """Return all that one observer can see of the others."""
    shown = [(p.pid, p.kind, p.stage, p.condition, p.left_s == 0.0) for p in state.processes]
    return shown, state.stopped, state.paused, state.waits_s > 0


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
    for words, act in _breaks(state):
        if not setup.only or words in setup.only:
            step, after = _carried_out(setup, state, f"FAULT: the {words}", act)
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
