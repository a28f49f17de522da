"""The ground that a pair stands on: births, locks, deaths, and what each observer sees of the others."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from snsnode.guard.view import View
from snsnode.node.config import RoleName
from snsnode.node.places import EMPTY, Seen
from snsnode.node.process import Identity
from tests.explorer.setup import Setup
from tests.explorer.state import FOREVER, Kind, Process, State, identity, names_in, replace

SLAVE_STARTS_S = 1.0  # from launch to the lock
MASTER_STARTS_S = 1.0
SERVES_S = 0.0  # from the master's lock to its first answer
LOCK_WAIT_S = 2.0


_ROLES: tuple[RoleName, ...] = ("slave", "master")
WANTED: dict[tuple[frozenset[str], bool], frozenset[RoleName]] = {
    (frozenset(stopped), paused): frozenset(() if paused else set(_ROLES) - set(stopped))
    for stopped in ((), ("slave",), ("master",), _ROLES)
    for paused in (False, True)
}


class Violation(Exception):
    """Something happened that must never happen."""


class Outlived(Violation):
    """A child that had not announced itself when supervisord shut down comes up later, and launches a partner."""


@dataclass
class Ground:
    """One state in the making: steps are carried out on it."""

    setup: Setup
    state: State
    told: list[str] = field(default_factory=list)  # the story of this step, in words

    # --- what is there ---------------------------------------------------------------------------------------

    def find(self, pid: int) -> Process | None:
        return self.state.find(pid)

    def put(self, process: Process) -> Process:
        self.state = self.state.put(process)
        return process

    def change(self, pid: int, **changes: Any) -> Process:
        found = self.find(pid)
        assert found is not None
        return self.put(replace(found, **changes))

    def say(self, text: str) -> None:
        self.told.append(text)

    # --- births, deaths, locks -------------------------------------------------------------------------------

    def spawn(self, kind: Kind, parent: int = 0) -> int:
        if self.state.supervisor.condition == "gone":
            raise Outlived(f"a {kind} is launched after supervisord has shut down")
        pid = 1 + max(names_in(self.state), default=0)
        starts_s = SLAVE_STARTS_S if kind == "slave" else MASTER_STARTS_S
        born = Process(pid, kind, left_s=starts_s, parent=parent, well_s=self.setup.well_cap_s)
        self.state = replace(self.state, processes=(*self.state.processes, born))
        return pid

    def kill(self, pid: int) -> None:
        """SIGKILL: death is a step of its own, and waits for state D to end."""
        process = self.find(pid)
        if process is not None and process.stage != "dying":
            self.change(pid, stage="dying", left_s=0.001)

    def bury(self, pid: int) -> None:
        """The kernel lets go of its lock and tells those who hold a pidfd, or the other end of its line."""
        self.state = replace(self.state, processes=tuple(p for p in self.state.processes if p.pid != pid))
        for other in self.state.processes:
            if other.watch.partner == identity(pid):
                what = "cleared" if other.busy == "clear" and other.victim == pid else "died"
                self.news(other.pid, 0.0, what, pid)
        supervisor = self.state.supervisor
        if supervisor.child == pid:
            self.state = replace(self.state, supervisor=replace(supervisor, child=0))

    def news(self, pid: int, in_s: float, what: str, about: int) -> None:
        process = self.find(pid)
        if process is not None:
            self.put(replace(process, news=(*process.news, (in_s, what, about))))

    def take_lock(self, process: Process) -> bool:
        """Hold the place; where another holds it, wait for it once and then leave."""
        if self.state.holder(process.kind) is not None:
            if process.told == "waits":
                self.say(f"the {process.kind} finds its lock taken and leaves")
                self.kill(process.pid)
            else:
                self.change(process.pid, told="waits", left_s=LOCK_WAIT_S)
            return False
        return True

    def grow(self, pid: int) -> None:
        """Take the next step of a life: the lock, the first answer, the end of a drain."""
        process = self.find(pid)
        assert process is not None
        match process.stage:
            case "dying" | "leaving":
                self.say(f"the {process.kind} is dead")
                self.kill(process.keeper.child if process.stage == "leaving" else 0)  # it sees its spare off
                self.bury(pid)
            case "starting" if self.take_lock(process):
                self._locked(self.find(pid))
            case "locked":
                self.say("the master serves")
                self.change(pid, stage="serving", left_s=FOREVER)
                self.wake(pid)

    def _locked(self, process: Process | None) -> None:
        assert process is not None
        if not self.may_run(process.kind):
            self.say(f"the {process.kind} was stopped, and leaves")
            self.kill(process.pid)
            return
        self.say(f"the {process.kind} holds its lock")
        match process.kind:
            case "slave":
                self.change(process.pid, stage="serving", left_s=FOREVER, told="")
                self.wake(process.pid)
            case "master":
                self.change(process.pid, stage="locked", left_s=SERVES_S, told="")
            case "spare":
                asks = FOREVER if self.find(process.parent) is None else self.setup.settings.interval_s
                self.change(process.pid, stage="ready", left_s=FOREVER, told="", ask_s=asks)

    def may_run(self, kind: Kind) -> bool:
        """Tell whether it was not ended on purpose."""
        return not self.state.closing and ("slave" if kind == "slave" else "master") not in self.state.stopped

    def wake(self, pid: int) -> None:
        self.change(pid, look_s=0.0)

    # --- what observers see ----------------------------------------------------------------------------------

    def seen(self, kind: Kind, last: int | None = None) -> Seen:
        holder = self.state.holder(kind)
        if holder is None:
            return EMPTY
        progress = None
        if kind != "spare" and holder.stage in ("serving", "leaving"):
            progress = 1 - (last or 0) if holder.runs else (last or 0)
        return _seen(holder.pid, holder.letter, progress)

    def view_of(self, process: Process) -> View:
        state = self.state
        shared = _intents(state)
        master, spare = self.seen("master"), self.seen("spare")
        if process.kind == "slave":
            keeper = process.keeper
            ours = identity(keeper.child) if keeper.child else None
            sent = identity(keeper.sent) if keeper.sent else None
            dismissed = identity(keeper.dismissed) if keeper.dismissed else None
            own = self.seen("slave")
            born = self.unannounced(keeper.child)
            return View(own, master, spare, ours=ours, sent=sent, dismissed=dismissed, born=born, **shared)
        parent = self.find(process.parent)
        slave = replace(self.seen("slave"), answers=process.answers)
        born = self.unannounced(process.child)
        if born is not None:
            slave = replace(slave, taken=True)
        return View(
            slave,
            master,
            spare,
            ours=identity(process.parent) if process.parent else None,
            alone=parent is None,
            born=born,
            waits=state.waits_s > 0 and process.act == "",
            **shared,
        )

    def view_of_supervisor(self) -> View:
        supervisor, state = self.state.supervisor, self.state
        last = None
        for held in supervisor.rows.held:
            if isinstance(held.what, tuple) and isinstance(held.what[1], int):
                last = held.what[1]
        slave = self.seen("slave", last)
        if supervisor.child and slave.identity is None:
            slave = replace(slave, taken=True)
        waits = state.waits_s > 0 and not supervisor.asked
        born = self.unannounced(supervisor.child)
        return View(slave, self.seen("master"), self.seen("spare"), waits=waits, born=born, **_intents(state))

    def unannounced(self, pid: int) -> Identity | None:
        child = self.find(pid)
        return identity(pid) if child is not None and child.place is None and child.stage != "dying" else None


@cache
def _seen(pid: int, letter: str, progress: int | None) -> Seen:
    return Seen(identity(pid), True, letter, progress)


def _intents(state: State) -> dict[str, Any]:
    stopped = frozenset(_ROLES) if state.closing else state.stopped
    return {"wanted": WANTED[stopped, state.paused], "leaving": stopped}
