"""What the explorer knows of a pair at one moment. Frozen, hashable, and relative to now: all times are seconds.

A time that lies ahead is positive, one that has passed is negative. Ages are capped at the largest constant that
any rule compares them with, so that states which no rule can tell apart are one.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar

from snsnode.guard import machine
from snsnode.guard.judge import Memory
from snsnode.guard.machine import Phase
from snsnode.node.config import RoleName
from snsnode.node.process import Identity

Kind = Literal["slave", "master", "spare"]
Stage = Literal["starting", "locked", "ready", "serving", "leaving", "dying"]
Condition = Literal["ok", "frozen", "deadlocked", "blocked", "starved", "disk"]
FOREVER = 1e9


T = TypeVar("T")


def replace(value: T, **changes: Any) -> T:
    """As ``dataclasses.replace`` for our tuples and for frozen classes with slots, in a fraction of the time."""
    if isinstance(value, tuple):
        return value._replace(**changes)  # type: ignore[attr-defined, no-any-return]
    made: T = object.__new__(type(value))
    for name in type(value).__slots__:  # type: ignore[attr-defined]
        object.__setattr__(made, name, changes[name] if name in changes else getattr(value, name))
    return made


@cache
def identity(pid: int) -> Identity:
    return Identity(pid, 1, "boot")


class Keeper(NamedTuple):
    """A slave's hold on spares: its child, the one it sent in, the one it dismissed."""

    child: int = 0
    sent: int = 0
    dismissed: int = 0
    not_before_s: float = 0.0


class Process(NamedTuple):
    """One process of the pair, with what it remembers as an observer."""

    pid: int
    kind: Kind  # what it is, or is to become: a spare that took over is a master
    stage: Stage = "starting"
    condition: Condition = "ok"
    left_s: float = FOREVER  # of its own running time, to the next step of its stage
    heals_s: float = FOREVER  # until it runs again by itself
    well_s: float = 0.0  # for how long it has been well; capped
    killed_s: float = FOREVER  # until supervisord's patience with a stop ends
    parent: int = 0  # a spare's slave; 0 where that died before the spare had started
    told: str = ""  # a spare's word: "go" or "leave"
    watch: machine.State = machine.State()
    busy: str = ""  # what the watch has under way: "clear" or "launch"
    victim: int = 0
    news: tuple[tuple[float, str, int], ...] = ()  # (in so many seconds, what, about which pid)
    rows: Memory = Memory()
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


class Supervisor(NamedTuple):
    """supervisord, as far as it concerns the pair."""

    condition: Literal["ok", "frozen", "leaving", "dead", "gone"] = "ok"
    heals_s: float = FOREVER
    child: int = 0  # the slave that it forked
    rows: Memory = Memory()
    look_s: float = FOREVER
    launch_s: float = FOREVER  # when the budget lets it launch
    asked: bool = False


class State(NamedTuple):
    """The pair."""

    processes: tuple[Process, ...] = ()
    supervisor: Supervisor = Supervisor()
    stopped: frozenset[RoleName] = frozenset()
    paused: bool = False
    closing: bool = False  # a live supervisord shuts down
    waits_s: float = 0.0  # somebody waits for the budget for so much longer

    def find(self, pid: int) -> Process | None:
        return next((p for p in self.processes if p.pid == pid), None) if pid else None

    def holder(self, kind: Kind) -> Process | None:
        return next((p for p in self.processes if p.place == kind), None)

    def put(self, process: Process) -> "State":
        return replace(self, processes=tuple(process if p.pid == process.pid else p for p in self.processes))

    def wanted(self, role: str) -> bool:
        return role not in self.stopped and not self.paused and not self.closing


def rounded(value: float) -> float:
    return round(value, 3) if abs(value) < FOREVER / 2 else value


# --- questions about a state -----------------------------------------------------------------------------------


def is_as_wanted(state: State) -> bool:
    """Tell whether a master serves where both are wanted, and nobody holds the place of a role that is not.

    A pause wants nothing. supervisord carries out a stop and a shutdown, which ask nothing where it cannot act.
    """
    unwanted = {"slave", "master"} if state.closing else state.stopped
    if unwanted:
        obeyed = not any(p.place in unwanted for p in state.processes)
        return obeyed or state.supervisor.condition not in ("ok", "leaving")
    return state.paused or serves(state)


def serves(state: State) -> bool:
    """Tell whether a master serves."""
    return any(p.kind == "master" and p.stage == "serving" and p.runs for p in state.processes)


def somebody_can_act(state: State) -> bool:
    """Tell whether anybody is left who runs, or will."""
    able = any(p.condition in ("ok", "starved", "disk") and p.stage != "dying" for p in state.processes)
    return able or state.supervisor.condition in ("ok", "leaving")


def is_well(state: State, *, spare: bool) -> bool:
    """Tell whether the whole pair runs, every watch is content, and nothing is under way."""
    if len(state.processes) != 2 + spare or state.supervisor.condition != "ok" or state.supervisor.asked:
        return False
    for p in state.processes:
        if p.condition != "ok" or p.stage not in ("serving", "ready") or p.news or p.busy or p.act:
            return False
        if p.kind != "spare" and (p.watch.phase is not Phase.UP or p.watch.frozen_seen or p.watch.missed):
            return False
        if any(held.row != "unmoved slave" for held in p.rows.held) or p.look_s <= 0:
            return False
    whole = len({p.kind for p in state.processes}) == 2 + spare
    return whole and state.wanted("slave") and state.wanted("master")


def names_in(state: State) -> Iterator[int]:
    """Yield every pid that anybody remembers, the dead too."""
    yield state.supervisor.child
    for p in state.processes:
        yield from (p.pid, p.parent, p.child, p.victim, p.keeper.child, p.keeper.sent, p.keeper.dismissed)
        if p.watch.partner:
            yield p.watch.partner.pid
        for _, _, pid in p.news:
            yield pid
        for held in p.rows.held:
            yield from _named(held.what)
    for held in state.supervisor.rows.held:
        yield from _named(held.what)


def _named(what: Any) -> Iterator[int]:
    for part in what if isinstance(what, tuple) else (what,):
        if isinstance(part, Identity):
            yield part.pid
