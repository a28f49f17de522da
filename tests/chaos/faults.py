"""The faults of the soak: which, when and where by seed, and how each is done to a real cluster."""

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from snsnode.node.process import Identity, send_signal
from tests.chaos.hooks import DEADLOCK, WEDGE
from tests.cluster import COMMAND_MAX_S, Cluster

Kind = Literal[
    "kill-master",
    "kill-slave",
    "kill-spare",
    "kill-both",
    "kill-all",
    "kill-master-spare",
    "kill-slave-spare",
    "kill-router",
    "kill-supervisord",
    "stop-master",
    "stop-slave",
    "stop-spare",
    "stop-cont-master",
    "stop-cont-slave",
    "stop-cont-router",
    "stop-cont-supervisord",
    "stop-cont-both",
    "deadlock-master",
    "deadlock-slave",
    "wedge-master",
    "supervisorctl-restart-master",
    "supervisorctl-restart-slave",
    "supervisorctl-restart-router",
    "snsctl-restart-master",
    "snsctl-restart-slave",
    "snsctl-restart-router",
    "deadlock-spare",
    "wedge-slave",
]

_WEIGHTS = {
    "kill-master": 4,
    "kill-slave": 3,
    "kill-both": 3,
    "stop-master": 2,
    "wedge-master": 0.4,
    "wedge-slave": 0.4,
}
OVERLAP = 0.35  # of the faults come while the one before is still being repaired
_KILLED: dict[str, tuple[str, ...]] = {
    "both": ("slave", "master"),
    "all": ("slave", "spare", "master"),
    "master-spare": ("spare", "master"),
    "slave-spare": ("spare", "slave"),
}
REPAIRS = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: ``gap_s`` after the one before, or after the cluster came to rest from it."""

    number: int
    kind: Kind
    vm: str
    overlaps: bool
    gap_s: float
    hold_s: float  # how long a stopped process stays so, or supervisord stays dead

    def __str__(self) -> str:
        how = "at once" if self.overlaps else "at rest"
        return f"{self.number}: {self.kind} {self.vm} ({how}, gap {self.gap_s:.3f} s, hold {self.hold_s:.3f} s)"


def schedule(seed: int, count: int, vms: Sequence[str]) -> list[Fault]:
    """Return the faults of ``seed``: the same for the same arguments."""
    chance = random.Random(seed)
    kinds: list[Kind] = list(get_args(Kind))
    weights = [_WEIGHTS.get(kind, 1.0) for kind in kinds]
    faults = []
    for number in range(count):
        [kind] = chance.choices(kinds, weights)
        overlaps = number > 0 and chance.random() < OVERLAP
        gap_s = chance.uniform(0, 0.4) if overlaps else chance.uniform(0, 1.0)
        faults.append(Fault(number, kind, chance.choice(list(vms)), overlaps, gap_s, chance.uniform(0.02, 1.5)))
    return faults


class Injector:
    """Does faults to one cluster. ``do`` blocks until the fault is done, not until it is repaired."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.condemned: dict[Identity, signal.Signals] = {}  # hung for ever: must be replaced

    def do(self, fault: Fault) -> None:
        """Do one fault. Who is not there cannot be hurt: with overlapping faults that is no error."""
        verb, _, rest = fault.kind.partition("-")
        vm = self._cluster.router_vm if rest.endswith("router") else fault.vm
        match verb:
            case "kill":
                self._kill(vm, rest, fault.hold_s)
            case "stop" if rest.startswith("cont-"):
                self._freeze(vm, rest.removeprefix("cont-"), fault.hold_s)
            case "stop":
                self._hang(vm, rest, signal.SIGSTOP)
            case "deadlock":
                self._hang(vm, rest, DEADLOCK)
            case "wedge":
                self._hang(vm, rest, WEDGE)
            case _:
                self._restart(vm, verb, rest.removeprefix("restart-"))

    def _find(self, vm: str, name: str) -> Identity | None:
        if name == "supervisord":
            return self._cluster.supervisord(vm)
        return self._cluster.process(vm, name)

    def _kill(self, vm: str, who: str, hold_s: float) -> None:
        found = [self._find(vm, name) for name in _KILLED.get(who, (who,))]
        victims = [victim for victim in found if victim is not None]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # first freeze all: none acts on the death of another
            for victim in victims:
                send_signal(victim, number)
        if who == "supervisord":
            time.sleep(hold_s)
            self._revive_supervisord(vm)

    def _hang(self, vm: str, name: str, number: signal.Signals) -> None:
        victim = self._find(vm, name)
        if victim is not None and send_signal(victim, number) and name != "spare":
            self.condemned[victim] = number  # one that hangs is perhaps only found when it is needed

    def _freeze(self, vm: str, who: str, hold_s: float) -> None:
        found = [self._find(vm, name) for name in _KILLED.get(who, (who,))]
        victims = [victim for victim in found if victim is not None]
        for victim in victims:
            send_signal(victim, signal.SIGSTOP)
        time.sleep(hold_s)
        for victim in victims:
            send_signal(victim, signal.SIGCONT)
            if self.condemned.get(victim) is signal.SIGSTOP:  # another fault's: that one has been thawed as well
                del self.condemned[victim]

    def _revive_supervisord(self, vm: str) -> None:
        """Start supervisord anew, as a machine's init would; somebody else may have done it already."""
        subprocess.run(
            [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(self._cluster.conf(vm))],
            cwd=self._cluster.folder,
            env=self._cluster.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_MAX_S,
            check=False,
        )

    def _restart(self, vm: str, tool: str, role: str) -> None:
        if tool == "supervisorctl":
            done = self._cluster.supervisorctl(vm, "restart", role, code=None)
            # supervisorctl exits with 0 whatever happened.
            well = f"{role}: started" in done.stdout
        else:
            done = self._cluster.ctl("restart", role, "--vm", vm, code=None)
            well = done.returncode == 0
        if well:
            return
        # Another fault came between its stop and its start: an operator would start it again.
        role = "router" if role == "router" else "slave"
        for _ in range(REPAIRS):
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._cluster.ctl("start", role, "--vm", vm, code=None).returncode == 0:
                    return
        raise AssertionError(f"snsctl start {role} --vm {vm} failed {REPAIRS} times")
