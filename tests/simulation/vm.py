"""One VM: its processes, locks, stop intents, restart budget, and what observers of the pair see and do."""

from typing import TYPE_CHECKING, Literal, TypeVar

from snsnode.guard.judge import Action, Memory, Verdict
from snsnode.guard.times import STOP_WAIT_S
from snsnode.guard.view import Me, Place, View
from snsnode.node.budget import Budget, spend
from snsnode.node.config import PARTNERS, Restart, RoleName
from snsnode.node.places import EMPTY, Seen
from snsnode.node.process import Identity
from snsnode.pair.beat import PROGRESS_EVERY_S
from snsnode.spec.model import Restart as RestartSpec
from tests.simulation import delays
from tests.simulation.network import Call, Port, Server
from tests.simulation.supervisord import Supervisord

if TYPE_CHECKING:
    from tests.simulation.master import Master
    from tests.simulation.slave import Slave
    from tests.simulation.world import World

Role = Literal["master", "slave"]
ROLES: tuple[Role, ...] = ("slave", "master")
Lock = Literal["master", "slave", "spare"]

_SPEC = RestartSpec()
RESTART = Restart(_SPEC.intensity, _SPEC.period_s, _SPEC.backoff_max_s)


class Process(Server):
    """A process of a pair. ``letter`` is its state in /proc, ``answers`` whether its threads run."""

    def __init__(self, vm: "VM", kind: str) -> None:
        super().__init__(vm.name, vm.world.clock)
        self.vm = vm
        self.world = vm.world
        self.kind = kind
        self.identity = Identity(vm.world.next_pid(), 1, "boot")
        self.started_s = self.role_s = vm.world.clock.now_s
        self.letter = "S"
        self.answers = True
        self.stuck = False  # frozen, or its loop stands still
        self.ill_until_s = 0.0  # it was healthy since then
        self._stood_s = 0.0  # for how long its loop stood still
        self._halted_s = 0.0
        self._serves_s: float | None = None  # since when it shows progress

    @property
    def progress(self) -> int | None:
        """The counter that its loop moves; None before it serves."""
        if self._serves_s is None:
            return None
        until_s = self._halted_s if self.frozen else self.clock.now_s
        return int((until_s - self._serves_s - self._stood_s) / PROGRESS_EVERY_S)

    def show_progress(self) -> None:
        """Begin to serve."""
        self._serves_s, self._stood_s = self.clock.now_s, 0.0

    def stick(self, letter: str, answers: bool) -> None:
        """Stand still: stopped (T), deadlocked (S, no answers) or with a blocked loop (S, answers)."""
        if not self.stuck and self.alive:
            self.letter, self.answers, self.stuck = letter, answers, True
            self.halt()

    def go_on(self) -> None:
        """Run again."""
        if self.stuck and self.alive:
            self.letter, self.answers, self.stuck = "S", True, False
            self.ill_until_s = (
                self.clock.now_s
            )  # a pause of the whole machine is no illness: it excuses no verdict
            self.resume()

    def halt(self) -> None:
        """Let nothing happen to it, for one more reason."""
        if not self.frozen:
            self._halted_s = self.clock.now_s
        self.clock.freeze(self)

    def resume(self) -> None:
        """Take one reason back."""
        if self.frozen == 1:
            self._stood_s += self.clock.now_s - self._halted_s
        self.clock.thaw(self)

    def died(self) -> None:
        """Let go of what it held, as the kernel does at its death; called once."""

    def notice_death(self, other: "Process") -> None:
        """Hear that another process of this VM died."""

    def notice_first_sign(self, master: "Process") -> None:
        """Hear that a starting master shows progress."""

    def heard_from_slave(self, slave: "Process") -> None:
        """Take a KeepAlive."""

    def terminate(self) -> None:
        """Heed SIGTERM."""
        self.vm.kill(self, "asked to stop")

    def cost_s(self, call: Call) -> float:
        """Return what a call takes; only masters are called."""
        return delays.CALL_S


P = TypeVar("P", bound=Process)


class VM:
    """The machine called ``name``."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.rng = world.rng(name)
        self.port = Port(name)
        self.up = False
        self.locks: dict[Lock, Process | None] = {"master": None, "slave": None, "spare": None}
        self.processes: list[Process] = []
        self.master: Master | None = None  # the one that serves
        self.stopped: dict[Role, bool] = {"master": False, "slave": False}
        self.wanted: frozenset[RoleName] = frozenset(PARTNERS)
        self.leaving: frozenset[RoleName] = frozenset()
        self.supervisord: Supervisord | None = None
        self.stopped_s = 0.0
        self.drained = False  # the operator's mark
        self.paused = False  # the whole machine stands still
        self.budget = Budget()
        self.epoch = 0  # the file
        self.born = 0

    # --- what everybody may ask ------------------------------------------------------------------------------

    def holder(self, role: Lock) -> Process | None:
        """Return who holds the role's lock, None where nobody that lives does."""
        process = self.locks[role]
        return process if process is not None and process.alive else None

    def may_start(self, role: Role) -> bool:
        """Tell whether ``role`` is meant to run."""
        return not self.stopped[role]

    @property
    def is_waiting(self) -> bool:
        """Tell whether somebody waits before a restart."""
        return self.budget.waits(self.world.clock.now_s)

    def seen(
        self, place: Lock, *, counter: bool = False, answers: bool | None = None, taken: bool = False
    ) -> Seen:
        """Return what a look at a place finds; ``taken``: also where nobody holds it yet."""
        process = self.holder(place)
        if process is None:
            return _TAKEN if taken else EMPTY
        return Seen(process.identity, True, process.letter, process.progress if counter else None, answers)

    def judged(self, memory: Memory, view: View, me: Me) -> Verdict:
        """Ask the judge, and check what it says."""
        now_s, world = self.world.clock.now_s, self.world
        verdict = world.machines.judge(memory, view, me, now_s, world.times)
        world.ledger.check_judge(self, memory, view, me, verdict)
        return verdict

    def end(self, action: Action, who: str) -> None:
        """End whom the judge condemns."""
        victim = self.find(action.victim)
        if victim is not None:
            if action.place is Place.SLAVE:
                self.world.ledger.check_ended(victim, f"{who}: {action.cause}")
            self.kill(victim, f"ended by the {who}: {action.cause}")

    def find(self, identity: Identity | None) -> Process | None:
        """Return the process that is alive."""
        return next((p for p in self.processes if p.identity == identity), None)

    def living(self, kind: str) -> list[Process]:
        """Return the processes of a kind, the oldest first."""
        return [process for process in self.processes if process.kind == kind]

    def withdraw(self, role: str) -> float:
        """Spend one restart; return the seconds to wait before it."""
        now_s, unit = self.world.clock.now_s, self.rng.random()
        self.budget, wait_s = spend(self.budget, RESTART, role, now_s, unit)
        return wait_s

    # --- processes -------------------------------------------------------------------------------------------

    def spawn_slave(self) -> "Slave":
        """Start a slave; one that comes second finds the lock taken, and leaves."""
        from tests.simulation.slave import Slave

        return self._add(Slave(self))

    def spawn_master(self, *, spare: bool = False, parent: "Slave | None" = None) -> "Master":
        """Start a master, or a spare one of ``parent``."""
        from tests.simulation.master import Master

        return self._add(Master(self, spare=spare, parent=parent))

    def _add(self, process: P) -> P:
        self.processes.append(process)
        if self.paused:
            process.halt()
        return process

    def kill(self, process: Process, why: str) -> None:
        """End a process at once, as the kernel would."""
        if not process.alive:
            return
        self.world.note(f"{self.name}: {process.kind} {process.identity.pid} ends: {why}")
        process.alive = False
        process.frozen = 0
        process.backlog.clear()
        self.processes.remove(process)
        for lock in self.locks:
            if self.locks[lock] is process:
                self.locks[lock] = None
        process.died()
        for other in self.processes:
            told_s = delays.around(delays.NOTICED_S, self.rng)
            self.world.clock.after(told_s, other, other.notice_death, process)

    # --- supervisord -----------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on: supervisord makes the first launch."""
        self.up = True
        self.world.network.power(self.name, True)
        self.budget = Budget()
        self.supervisord = Supervisord(self)
        if self.may_start("slave"):
            self.supervisord.launch()

    def crash(self) -> None:
        """Power off: nobody is told."""
        self.up = self.paused = False
        self.born += 1
        self.world.network.power(self.name, False)
        if self.supervisord is not None:
            self.supervisord.alive = False
        for process in tuple(self.processes):
            self.kill(process, "power lost")

    # --- the operator ----------------------------------------------------------------------------------------

    def stop(self, role: Role) -> None:
        """Stop a role: the intent first, then the signal; who does not heed it is killed."""
        roles: tuple[Role, ...] = ("slave", "master") if role == "slave" else ("master",)
        self.stopped_s = self.world.clock.now_s
        for stopped in roles:
            self.stopped[stopped] = True
        self._note_intents()
        for stopped in roles:
            for process in self.living(stopped) + (self.living("spare") if stopped == "slave" else []):
                process.work(0.0, process.terminate)
                self.world.clock.after(STOP_WAIT_S, None, self._kill_stubborn, process, stopped)

    def _kill_stubborn(self, process: Process, role: Role) -> None:
        if self.stopped[role]:
            self.kill(process, "did not heed SIGTERM")

    def start(self, role: Role) -> None:
        """Start a role again."""
        self.stopped["master"] = False
        if role == "slave":
            self.stopped["slave"] = False
        self._note_intents()
        if role == "slave" and self.supervisord is not None and self.up and self.holder("slave") is None:
            self.supervisord.launch()

    def _note_intents(self) -> None:
        self.leaving = frozenset(role for role in ROLES if self.stopped[role])
        self.wanted = frozenset(PARTNERS) - self.leaving


_TAKEN = Seen(taken=True)
