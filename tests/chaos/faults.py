"""The faults of the soak: which, when and where by seed, and how each is done to a real cluster."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from snsnode.node.config import RoleName
from snsnode.node.process import Identity, send_signal
from snsnode.observe.logs import LOG_BYTES_MAX
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
    "reload-supervisord",
    "hangup-supervisord",
    "foreground-supervisord",
    "clear-master",
    "clear-slave",
    "clear-router",
    "rotate-master",
    "rotate-slave",
    "rotate-router",
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
REPAIR_WITHIN_S = 30.0


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
            case "reload":
                self._cluster.supervisorctl(vm, "reload", code=None)
            case "hangup":
                self._hang_up(vm)
            case "foreground":
                self._kill(vm, rest, fault.hold_s, foreground=True)
            case "clear":
                self._clear(vm, rest)
            case "rotate":
                self._fill(vm, cast(RoleName, rest))
            case _:
                self._restart(vm, verb, rest.removeprefix("restart-"))

    def _find(self, vm: str, name: str) -> Identity | None:
        if name == "supervisord":
            return self._cluster.supervisord(vm)
        return self._cluster.process(vm, name)

    def _kill(self, vm: str, who: str, hold_s: float, *, foreground: bool = False) -> None:
        found = [self._find(vm, name) for name in _KILLED.get(who, (who,))]
        victims = [victim for victim in found if victim is not None]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # first freeze all: none acts on the death of another
            for victim in victims:
                send_signal(victim, number)
        if who == "supervisord":
            time.sleep(hold_s)
            self._revive_supervisord(vm, foreground=foreground)

    def _hang_up(self, vm: str) -> None:
        found = self._cluster.supervisord(vm)
        if found is not None:
            send_signal(found, signal.SIGHUP)

    def _clear(self, vm: str, role: str) -> None:
        """Clear a log; who writes into it must not be left with a file that nobody sees."""
        found = self._find(vm, role)
        before = _lost_logs(found)
        self._cluster.supervisorctl(vm, "clear", role, code=None)
        lost = _lost_logs(found) - before
        assert not lost, f"{role} of {vm} writes into {lost}"

    def _fill(self, vm: str, role: RoleName) -> None:
        """Let the next line find the log full, so that it is rotated."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self._cluster.vm_dir(vm).log(role), LOG_BYTES_MAX)

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

    def _revive_supervisord(self, vm: str, *, foreground: bool) -> None:
        """Start supervisord anew, as a machine's init would; somebody else may have done it already.

        ``foreground``: as a container does, from another folder and with a relative path.
        """
        command = [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(self._cluster.conf(vm))]
        if foreground:
            command[-1] = "." + command[-1]
            command = ["sh", "-c", '"$@" -n > /dev/null 2>&1 &', "sh", *command]
        subprocess.run(
            command,
            cwd="/" if foreground else self._cluster.folder,
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
        tries, until_s = 0, time.monotonic() + REPAIR_WITHIN_S
        while tries < REPAIRS or time.monotonic() < until_s:
            tries += 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._cluster.ctl("start", role, "--vm", vm, code=None).returncode == 0:
                    return
        raise AssertionError(f"snsctl start {role} --vm {vm} failed {tries} times")


def _lost_logs(process: Identity | None) -> set[str]:
    """Return the logs that a process has open and nobody can read any more."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{process.pid if process else 0}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(link.readlink()))
    return {name for name in found if name.endswith(".log (deleted)")}
