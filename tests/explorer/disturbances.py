"""What may come at any moment: faults, and an operator's orders. Each counts as one disturbance."""

from collections.abc import Iterator
from functools import partial

from snsnode.guard import times
from snsnode.node.config import RoleName
from tests.explorer.hands import World
from tests.explorer.setup import Setup
from tests.explorer.state import FOREVER, Process, State, replace
from tests.explorer.steps import Act, Successor, carried_out

DRAIN_S = 1.0  # from SIGTERM to the end of a master that works; ``times.DRAIN_S`` at most
SLAVE: frozenset[RoleName] = frozenset({"slave"})
MASTER: frozenset[RoleName] = frozenset({"master"})
BOTH = SLAVE | MASTER
STOPPABLE = (("the slave", SLAVE), ("the master", MASTER), ("both", BOTH))


def disturbances(setup: Setup, state: State, nth: int) -> Iterator[Successor]:
    """Yield what may strike now, as the disturbance number ``nth``, counted from 0."""
    for words, act in _faults(state):
        if setup.may_strike(words, nth):
            step, after = carried_out(setup, state, f"FAULT: the {words}", act)
            yield step._replace(fault=True), after
    for words, act in _orders(state) if setup.orders else ():
        if setup.may_strike(words, nth):
            step, after = carried_out(setup, state, f"ORDER: {words}", act)
            yield step._replace(fault=True), after


# --- faults ------------------------------------------------------------------------------------------------------


def _faults(state: State) -> Iterator[tuple[str, Act]]:
    for process in state.processes:
        if process.stage == "dying":
            continue
        yield f"{process.kind} is killed", partial(World.kill, pid=process.pid)
        if process.condition == "ok":
            for words, condition, heals_s in _illnesses(process):
                yield f"{process.kind} {words}", partial(_ail, process.pid, condition, heals_s)
    if state.supervisor.condition in ("ok", "leaving"):
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
    # The mark of a shutdown counts while the supervisord that made it lives; a frozen one lives.
    closing = world.state.closing and condition != "dead"
    world.state = world.state._replace(supervisor=broken, closing=closing)


# --- orders ------------------------------------------------------------------------------------------------------


def _orders(state: State) -> Iterator[tuple[str, Act]]:
    """Yield what an operator may want now: a stop and a start go through supervisord, a pause is a file."""
    if state.closing:
        return
    if state.supervisor.condition == "ok":
        for name, roles in STOPPABLE:
            if not roles & state.stopped:
                yield f"stop {name}", partial(_stop, roles=roles)
        if "slave" in state.stopped:
            yield "start the slave", partial(_start, roles=BOTH)
        if "master" in state.stopped:
            yield "start the master", partial(_start, roles=MASTER)
        yield "shut down", _shut_down
    yield ("resume" if state.paused else "pause"), _pause


def _pause(world: World) -> None:
    world.state = world.state._replace(paused=not world.state.paused)


def _start(world: World, roles: frozenset[RoleName]) -> None:
    world.state = world.state._replace(stopped=world.state.stopped - roles)


def _stop(world: World, roles: frozenset[RoleName]) -> None:
    """Record the intent first, then signal."""
    world.state = world.state._replace(stopped=world.state.stopped | roles)
    _signal(world, roles)


def _shut_down(world: World) -> None:
    leaving = world.state.supervisor._replace(condition="leaving", asked=False, launch_s=FOREVER)
    world.state = world.state._replace(closing=True, supervisor=leaving)
    _signal(world, BOTH)
    spare = world.state.holder("spare")
    if spare is not None and spare.stage == "ready":
        world.change(spare.pid, stage="leaving", left_s=0.0, news=())


def _signal(world: World, roles: frozenset[RoleName]) -> None:
    """SIGTERM whom supervisord knows: who announced itself, and the slave that it forked."""
    for process in world.state.processes:
        known = process.place in roles or process.pid == world.state.supervisor.child
        if process.kind in roles and known and process.stage != "dying":
            _terminate(world, process)


def _terminate(world: World, process: Process) -> None:
    """One that works leaves its place; any other one is killed in the end."""
    world.change(process.pid, killed_s=times.STOP_WAIT_S)
    if process.stage not in ("serving", "locked"):
        return
    spare, partner = (
        world.find(process.keeper.child),
        world.find(process.watch.partner.pid if process.watch.partner else 0),
    )
    lasts_s = DRAIN_S if process.kind == "master" else times.SEND_OFF_S if spare is not None else 0.0
    world.change(process.pid, stage="leaving", left_s=lasts_s, news=())
    if spare is not None:
        world.news(spare.pid, 0.0, "leave", process.pid)
    if partner is not None and partner.stage == "starting" and not world.may_run(partner.kind):
        world.kill(partner.pid)  # nobody else could find it
