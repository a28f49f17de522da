"""How time passes in a state, and which states are one. A fold may only join states that no rule can tell apart.

Each fold says below why it loses nothing; ``test_folds.py`` takes them away one by one and compares the verdicts.

ages    An age counts up to the largest constant that it is compared with. A row compares how long it has held with
        its own patience alone, and how long a process has been well is compared with half of some patience.
husks   A process that is dying, or broken for good, takes no step of its own any more, so nothing that it
        remembers can ever be used. What others see of it stays: its kind, its stage, its state's letter.
late    An observer whose last look is older than its late rule allows forgets at its next look what it saw, and
        takes no verdict before that look. So what it saw is forgotten at once.
well    At a beat of a pair that is wholly well, nothing of the past is left but the offset between the slave's
        beat and its spare's question. The offset becomes the nearer of none and half an interval: this alone is
        a choice (of two of the offsets that clocks may have), not an equality. Without a spare it is an equality.
names   Processes are numbered by what they are, in a fixed order: a pid matters only in that two are equal or not.
"""

from typing import Any

from snsnode.guard import judge, machine, times
from snsnode.guard.judge import Held, Memory
from snsnode.guard.machine import Cause, Phase
from snsnode.guard.view import Me, View
from snsnode.node.process import Identity
from tests.explorer.setup import Setup
from tests.explorer.state import (
    FOREVER,
    Keeper,
    Process,
    State,
    Supervisor,
    identity,
    is_well,
    names_in,
    replace,
    rounded,
)

_NEVER_RUN = ("frozen", "deadlocked", "blocked")


# --- time ------------------------------------------------------------------------------------------------------


def shifted(state: State, by_s: float, setup: Setup) -> State:
    """Let ``by_s`` pass: nothing happens meanwhile."""
    return State(
        tuple(_shift_process(p, by_s, setup) for p in state.processes),
        _shift_supervisor(state.supervisor, by_s, setup),
        state.stopped,
        state.paused,
        state.closing,
        max(0.0, rounded(state.waits_s - by_s)),
    )


def _shift_process(p: Process, by_s: float, setup: Setup) -> Process:
    keeper = p.keeper
    if keeper.not_before_s > 0:
        keeper = keeper._replace(not_before_s=max(0.0, rounded(keeper.not_before_s - by_s)))
    return p._replace(
        left_s=_ahead(p.left_s, by_s) if p.runs or p.stage == "dying" else p.left_s,
        heals_s=_ahead(p.heals_s, by_s),
        well_s=min(setup.well_cap_s, rounded(p.well_s + by_s)) if p.condition == "ok" else 0.0,
        killed_s=_ahead(p.killed_s, by_s),
        watch=_shift_watch(p.watch, by_s, setup.cap_s, sends=p.kind == "slave"),
        news=tuple((max(0.0, _ahead(at, by_s)), what, pid) for at, what, pid in p.news),
        rows=_shift_rows(p.rows, by_s, setup),
        look_s=max(0.0, _ahead(p.look_s, by_s)),
        keeper=keeper,
        ask_s=max(0.0, _ahead(p.ask_s, by_s)),
        act_s=max(0.0, _ahead(p.act_s, by_s)),
    )


def _shift_supervisor(s: Supervisor, by_s: float, setup: Setup) -> Supervisor:
    return s._replace(
        heals_s=_ahead(s.heals_s, by_s),
        rows=_shift_rows(s.rows, by_s, setup),
        look_s=max(0.0, _ahead(s.look_s, by_s)),
        launch_s=max(0.0, _ahead(s.launch_s, by_s)),
    )


def _ahead(at_s: float, by_s: float) -> float:
    return at_s if at_s >= FOREVER / 2 else rounded(at_s - by_s)


def _shift_rows(memory: Memory, by_s: float, setup: Setup) -> Memory:
    if not memory.held and memory.looked_s is None:
        return memory
    caps_s = setup.row_caps_s
    held = tuple(Held(h.row, h.what, max(-caps_s[h.row], rounded(h.since_s - by_s))) for h in memory.held)
    looked_s = None if memory.looked_s is None else max(-setup.cap_s, rounded(memory.looked_s - by_s))
    return Memory(held, looked_s)


def _shift_watch(state: machine.State, by_s: float, cap_s: float, *, sends: bool) -> machine.State:
    """Shift what the machine remembers, and forget what it cannot use in its phase."""

    def past(at_s: float) -> float:
        return max(-cap_s, rounded(at_s - by_s))

    tick_s = None if state.tick_s is None else past(state.tick_s)
    if state.phase in (Phase.ABSENT, Phase.CLEARING, Phase.WAITING):
        launch_s = rounded(state.launch_at_s - by_s) if state.phase is Phase.WAITING else 0.0
        return machine.State(phase=state.phase, partner=state.partner, tick_s=tick_s, launch_at_s=launch_s)
    trusted_s = rounded(state.trusted_from_s - by_s)
    return machine.State(
        phase=state.phase,
        partner=state.partner,
        since_s=past(state.since_s) if state.phase is Phase.STARTING else 0.0,
        tick_s=tick_s,
        beat_s=past(state.beat_s),
        next_beat_s=max(0.0, rounded(state.next_beat_s - by_s)) if sends else 0.0,
        missed=min(state.missed, machine.UNANSWERED_MISSES) if sends else 0,
        frozen_seen=min(state.frozen_seen, 2),
        progress=0 if sends and state.progress is not None else None,
        progress_s=past(state.progress_s) if sends else 0.0,
        bell_s=past(state.bell_s) if sends and state.bell_s > state.progress_s else -cap_s,
        trusted_from_s=trusted_s if trusted_s > 0 else -cap_s,
    )


# --- what nobody can use any more --------------------------------------------------------------------------------


def _remembering(p: Process, setup: Setup) -> Process:
    """Return the process without what it can never use."""
    if "husks" in setup.folds and (p.stage == "dying" or p.condition in _NEVER_RUN):
        left_s = p.left_s if p.stage == "dying" else FOREVER
        heals_s = p.heals_s if p.condition == "disk" else FOREVER
        return Process(p.pid, p.kind, p.stage, p.condition, left_s, heals_s, killed_s=p.killed_s)
    if "late" in setup.folds and p.condition in ("starved", "disk"):
        return _late(p, setup)
    return p


def _late(p: Process, setup: Setup) -> Process:
    watch, rows = p.watch, p.rows
    if watch.tick_s is not None and watch.tick_s < -times.LATE_S:
        partner, phase = watch.partner, watch.phase
        launch_s = watch.launch_at_s if phase is Phase.WAITING else 0.0
        progress = watch.progress if phase in (Phase.STARTING, Phase.UP, Phase.DOUBTED) else None
        watch = machine.State(phase, partner, tick_s=-setup.cap_s, progress=progress, launch_at_s=launch_s)
    late_s = max(judge.late_s(me, View(), setup.settings) for me in (Me.SLAVE, Me.SPARE))
    if rows.looked_s is not None and rows.looked_s < -late_s:
        rows = Memory((), -setup.cap_s)
    return p._replace(watch=watch, rows=rows)


def _supervisor_remembering(s: Supervisor, setup: Setup) -> Supervisor:
    broken = s.condition in ("dead", "gone", "frozen")
    return Supervisor(s.condition) if "husks" in setup.folds and broken else s


def _begun_anew(state: State, setup: Setup) -> State:
    """Return a well pair at a beat as if all had just begun, with the nearer of two offsets."""
    slave, master = state.holder("slave"), state.holder("master")
    assert slave is not None and master is not None
    if slave.watch.beat_s != 0.0 or max(p.watch.trusted_from_s for p in (slave, master)) > 0.0:
        return state
    interval_s, cap_s = setup.settings.interval_s, setup.cap_s
    fresh = []
    for p in state.processes:
        p = p._replace(well_s=setup.well_cap_s, told="", child=0, victim=0, look_s=FOREVER, act_s=FOREVER)
        if p.kind == "spare":
            is_half = 0.25 * interval_s <= p.ask_s < 0.75 * interval_s
            p = p._replace(ask_s=rounded(interval_s / 2 if is_half else interval_s), rows=Memory((), 0.0))
        else:
            sends = p.kind == "slave"
            watch = machine.State(
                Phase.UP,
                p.watch.partner,
                tick_s=0.0,
                next_beat_s=interval_s if sends else 0.0,
                progress=0 if sends else None,
                bell_s=-cap_s,
                trusted_from_s=-cap_s,
            )
            keeper = Keeper(child=p.keeper.child)
            p = p._replace(watch=watch, rows=Memory((), 0.0) if sends else Memory(), keeper=keeper)
        fresh.append(p)
    return state._replace(processes=tuple(fresh))


# --- sameness ----------------------------------------------------------------------------------------------------


def canonical(state: State, setup: Setup) -> State:
    """Return the state without what cannot be used, its processes in a fixed order and numbered anew."""
    processes = tuple(_remembering(p, setup) for p in state.processes)
    supervisor = _supervisor_remembering(state.supervisor, setup)
    if any(p.watch.cause is not Cause.FIRST for p in processes):
        processes = tuple(p._replace(watch=replace(p.watch, cause=Cause.FIRST)) for p in processes)
    state = state._replace(processes=processes, supervisor=supervisor)
    if "well" in setup.folds and is_well(state, spare=setup.spare):
        state = _begun_anew(state, setup)
    return _numbered(state)


def _numbered(state: State) -> State:
    order = sorted(state.processes, key=lambda p: (p.kind, p.stage == "starting", p.stage, p.condition, p.pid))
    names: dict[int, int] = {0: 0}
    for process in order:
        names[process.pid] = len(names)
    ordered = state._replace(processes=tuple(order))
    for pid in names_in(ordered):  # the dead who are still remembered: by the order in which they are met
        if pid not in names:
            names[pid] = len(names)
    if all(old == new for old, new in names.items()) and not any(len(p.news) > 1 for p in order):
        return ordered._replace(supervisor=_counted_anew(state.supervisor, names))
    processes = tuple(_renamed(p, names) for p in order)
    return ordered._replace(processes=processes, supervisor=_counted_anew(state.supervisor, names))


def _counted_anew(s: Supervisor, names: dict[int, int]) -> Supervisor:
    """Rename, and let every counter begin at nought: whether it has moved is all that anybody compares."""
    if not s.child and not s.rows.held:
        return s
    return s._replace(child=names[s.child], rows=_renamed_rows(s.rows, names))


def _renamed(p: Process, names: dict[int, int]) -> Process:
    keeper, watch = p.keeper, p.watch
    if keeper.child or keeper.sent or keeper.dismissed:
        keeper = Keeper(names[keeper.child], names[keeper.sent], names[keeper.dismissed], keeper.not_before_s)
    if watch.partner is not None and names[watch.partner.pid] != watch.partner.pid:
        watch = replace(watch, partner=identity(names[watch.partner.pid]))
    return p._replace(
        pid=names[p.pid],
        parent=names[p.parent],
        child=names[p.child],
        victim=names[p.victim],
        watch=watch,
        news=tuple(sorted((at, what, names.get(pid, pid)) for at, what, pid in p.news)),
        rows=_renamed_rows(p.rows, names),
        keeper=keeper,
    )


def _renamed_rows(memory: Memory, names: dict[int, int]) -> Memory:
    if not memory.held:
        return memory
    return Memory(tuple(Held(h.row, _who(h.what, names), h.since_s) for h in memory.held), memory.looked_s)


def _who(found: Any, names: dict[int, int]) -> Any:
    if isinstance(found, Identity):
        return identity(names[found.pid])
    if isinstance(found, tuple):
        return tuple(0 if isinstance(part, int) else _who(part, names) for part in found)
    return found
