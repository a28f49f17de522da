"""What the explorer knows of a pair at one moment. Frozen, hashable, and relative to now: all times are seconds.

A time that lies ahead is positive, one that has passed is negative. Ages are capped at the largest constant that
any rule compares them with, so that states which no rule can tell apart are one.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

from snsnode.guard import machine
from snsnode.guard.judge import Held, Memory
from snsnode.guard.machine import Cause, Phase
from snsnode.node.process import Identity

Kind = Literal["slave", "master", "spare"]
Stage = Literal["starting", "locked", "ready", "serving", "leaving", "dying"]
Condition = Literal["ok", "frozen", "deadlocked", "blocked", "starved", "disk"]
FOREVER = 1e9


T = TypeVar("T")


def replace(value: T, **changes: Any) -> T:
    """As ``dataclasses.replace`` for our frozen classes with slots, in a third of the time."""
    made: T = object.__new__(type(value))
    for name in type(value).__slots__:  # type: ignore[attr-defined]
        object.__setattr__(made, name, changes[name] if name in changes else getattr(value, name))
    return made


@cache
def identity(pid: int) -> Identity:
    return Identity(pid, 1, "boot")


@dataclass(frozen=True, slots=True)
class Keeper:
    """A slave's hold on spares: its child, the one it sent in, the one it dismissed."""

    child: int = 0
    sent: int = 0
    dismissed: int = 0
    not_before_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the pair, with what it remembers as an observer."""

    pid: int
    kind: Kind  # what it is, or is to become: a spare that took over is a master
    stage: Stage = "starting"
    condition: Condition = "ok"
    left_s: float = FOREVER  # of its own running time, to the next step of its stage
    heals_s: float = FOREVER  # until it runs again by itself
    well_s: float = 0.0  # for how long it has been well; capped
    young_s: float = 0.0  # how much longer it may still be starting, to one who meets it
    killed_s: float = FOREVER  # until supervisord's patience with a stop ends
    parent: int = 0  # a spare's slave; 0 where that died before the spare had started
    told: str = ""  # a spare's word: "go" or "leave"
    watch: machine.State = field(default_factory=machine.State)
    busy: str = ""  # what the watch has under way: "clear" or "launch"
    victim: int = 0
    news: tuple[tuple[float, str, int], ...] = ()  # (in so many seconds, what, about which pid)
    rows: Memory = field(default_factory=Memory)
    look_s: float = FOREVER
    keeper: Keeper = Keeper()
    ask_s: float = FOREVER  # a spare's next question to its slave
    answers: bool | None = None
    child: int = 0  # the slave that a spare launched
    act: str = ""  # what a spare waits to do: "rescue" or "launch"
    act_s: float = FOREVER

    @property
    def runs(self) -> bool:
        """Its event loop turns."""
        return self.condition == "ok" and self.stage != "dying"

    @property
    def place(self) -> Kind | None:
        """The lock that it holds."""
        if self.stage == "starting" or (self.stage == "dying" and self.left_s == 0.0):
            return None
        return self.kind

    @property
    def letter(self) -> str:
        return {"frozen": "T", "disk": "D"}.get(self.condition, "S")


@dataclass(frozen=True, slots=True)
class Supervisor:
    """supervisord, as far as it concerns the pair."""

    condition: Literal["ok", "frozen", "starved", "dead"] = "ok"
    heals_s: float = FOREVER
    child: int = 0  # the slave that it forked
    rows: Memory = field(default_factory=Memory)
    look_s: float = FOREVER
    launch_s: float = FOREVER  # when the budget lets it launch
    asked: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """The pair."""

    processes: tuple[Process, ...] = ()
    supervisor: Supervisor = Supervisor()
    stopped: frozenset[str] = frozenset()
    paused: bool = False
    waits_s: float = 0.0  # somebody waits for the budget for so much longer
    faults: int = 0  # how many more may come

    def find(self, pid: int) -> Process | None:
        return next((p for p in self.processes if p.pid == pid), None) if pid else None

    def holder(self, kind: Kind) -> Process | None:
        return next((p for p in self.processes if p.place == kind), None)

    def put(self, process: Process) -> "State":
        return replace(self, processes=tuple(process if p.pid == process.pid else p for p in self.processes))

    def wanted(self, role: str) -> bool:
        return role not in self.stopped and not self.paused


def rounded(value: float) -> float:
    return round(value, 3) if abs(value) < FOREVER / 2 else value


# --- time and sameness -----------------------------------------------------------------------------------------


def shifted(state: State, by_s: float, cap_s: float) -> State:
    """Let ``by_s`` pass: nothing happens meanwhile."""
    processes = tuple(_shift_process(p, by_s, cap_s) for p in state.processes)
    return replace(
        state,
        processes=processes,
        supervisor=_shift_supervisor(state.supervisor, by_s, cap_s),
        waits_s=max(0.0, rounded(state.waits_s - by_s)),
    )


def _shift_process(p: Process, by_s: float, cap_s: float) -> Process:
    runs = p.runs
    return replace(
        p,
        left_s=_ahead(p.left_s, by_s) if runs or p.stage == "dying" else p.left_s,
        heals_s=_ahead(p.heals_s, by_s),
        well_s=min(cap_s, rounded(p.well_s + by_s)) if p.condition == "ok" else 0.0,
        young_s=max(0.0, rounded(p.young_s - by_s)),
        killed_s=_ahead(p.killed_s, by_s),
        watch=_shift_watch(p.watch, by_s, cap_s, sends=p.kind == "slave"),
        news=tuple((max(0.0, _ahead(at, by_s)), what, pid) for at, what, pid in p.news),
        rows=shift_rows(p.rows, by_s, cap_s),
        look_s=max(0.0, _ahead(p.look_s, by_s)),
        keeper=replace(p.keeper, not_before_s=max(0.0, rounded(p.keeper.not_before_s - by_s))),
        ask_s=max(0.0, _ahead(p.ask_s, by_s)),
        act_s=max(0.0, _ahead(p.act_s, by_s)),
    )


def _shift_supervisor(s: Supervisor, by_s: float, cap_s: float) -> Supervisor:
    return replace(
        s,
        heals_s=_ahead(s.heals_s, by_s),
        rows=shift_rows(s.rows, by_s, cap_s),
        look_s=max(0.0, _ahead(s.look_s, by_s)),
        launch_s=max(0.0, _ahead(s.launch_s, by_s)),
    )


def _ahead(at_s: float, by_s: float) -> float:
    return at_s if at_s >= FOREVER / 2 else rounded(at_s - by_s)


def shift_rows(memory: Memory, by_s: float, cap_s: float) -> Memory:
    held = tuple(Held(h.row, h.what, max(-cap_s, rounded(h.since_s - by_s))) for h in memory.held)
    looked_s = None if memory.looked_s is None else max(-cap_s, rounded(memory.looked_s - by_s))
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
    return replace(
        state,
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
        launch_at_s=0.0,
        cause=Cause.FIRST,
    )


def canonical(state: State) -> State:
    """Return the state with its processes in a fixed order and numbered anew."""
    order = sorted(state.processes, key=lambda p: (p.kind, p.stage == "starting", p.stage, p.condition, p.pid))
    names: dict[int, int] = {0: 0}
    for process in order:
        names[process.pid] = len(names)

    def of(pid: int) -> int:
        if pid not in names:  # dead, and still remembered: one name for all of them but what is compared
            names[pid] = len(names)
        return names[pid]

    def who(found: Any) -> Any:
        if isinstance(found, Identity):
            return identity(of(found.pid))
        if isinstance(found, tuple):
            return tuple(0 if isinstance(part, int) else who(part) for part in found)
        return found

    def rows(memory: Memory) -> Memory:
        return replace(memory, held=tuple(Held(h.row, who(h.what), h.since_s) for h in memory.held))

    processes = []
    for p in order:
        processes.append(
            replace(
                p,
                pid=of(p.pid),
                parent=of(p.parent),
                child=of(p.child),
                victim=of(p.victim),
                watch=replace(p.watch, partner=who(p.watch.partner)),
                news=tuple(sorted((at, what, of(pid)) for at, what, pid in p.news)),
                rows=rows(p.rows),
                keeper=replace(
                    p.keeper, child=of(p.keeper.child), sent=of(p.keeper.sent), dismissed=of(p.keeper.dismissed)
                ),
            )
        )
    supervisor = replace(state.supervisor, child=of(state.supervisor.child), rows=rows(state.supervisor.rows))
    return replace(state, processes=tuple(processes), supervisor=supervisor)
