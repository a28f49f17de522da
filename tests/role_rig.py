"""Our programs inside a supervisord whose loop is turned by hand, and processes that hold roles."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from supervisor.states import ProcessStates

from snsnode.base.ids import VmName
from snsnode.node import config
from snsnode.node.config import KeepAlive, NodeConfig, Restart, RoleName
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify
from snsnode.supervisord.guards import PairGuard
from snsnode.supervisord.roles import RoleProcess
from snsnode.supervisord.router_guard import RouterGuard
from tests.processes import Sleeper, sleeper
from tests.program_rig import make

RULE = Restart(intensity=1, period_s=3600, backoff_max_s=300)
QUICK = Restart(intensity=1, period_s=3600, backoff_max_s=1)


class Pair:
    """A VM's folder, and its programs as supervisord has them; what they fork is only counted."""

    def __init__(self, vm_dir: VmDir) -> None:
        self.vm_dir = vm_dir
        self.forked: list[RoleName] = []
        self.programs = {role: self._program(role) for role in ("router", "slave", "master")}

    def _program(self, role: str) -> Any:
        program = make(RoleProcess, name=role, autostart=role != "master")
        program.vm_dir, program.sibling = self.vm_dir, lambda name: self.programs.get(name)
        program.guard = PairGuard(self.vm_dir, program.config.options.logger)
        program.router_guard = RouterGuard(self.vm_dir, program.config.options.logger)

        def fork() -> None:
            self.forked.append(program.role)
            program.laststart = time.time()
            program.change_state(ProcessStates.STARTING)
            program.pid = 4242  # as supervisord knows it before the child has announced itself

        program._fork = fork
        return program

    def configure(self, rule: Restart) -> None:
        vm, keepalive = VmName("vm2"), KeepAlive(3, 1, 9)
        node = NodeConfig("c", vm, "127.0.0.1", 1, 2, (), "sqlite:///x", "single", True, keepalive, rule)
        (self.vm_dir.path / config.FILENAME).write_text(config.to_json(node))

    def died(self, role: RoleName, code: int = 1) -> None:
        """Let supervisord's own child end before ``startsecs``."""
        program = self.programs[role]
        program.pipes = {}
        program.finish(program.pid, code << 8)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    vm_dir = VmDir(tmp_path / "vm2")
    vm_dir.make()
    made = Pair(vm_dir)
    made.configure(RULE)
    return made


@pytest.fixture
def partner(pair: Pair) -> Iterator[Identity]:
    """A live process that holds the master's role."""
    script = (
        "import sys; from pathlib import Path; from snsnode.node.lock import RoleLock;"
        "from snsnode.node.paths import VmDir; lock = RoleLock(VmDir(Path(sys.argv[1])), 'master');"
        "lock.take(); lock.announce(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(pair.vm_dir.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        identity = identify(process.pid)
        assert identity is not None
        yield identity
        process.kill()


@contextmanager
def holding(pair: Pair, role: str, *, shows: str = "nothing") -> Iterator[Sleeper]:
    """A process that holds ``role`` and shows no progress; or "its own", at each ``move``; or "another's"."""
    with sleeper(_HOLDER, str(pair.vm_dir.path), role, shows) as holder:
        yield holder


_HOLDER = """
import dataclasses
from pathlib import Path
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
from snsnode.node.process import me
from snsnode.node.progress import Progress
vm_dir, role, shows = sys.argv[1:]
lock = RoleLock(VmDir(Path(vm_dir)), role)
lock.take()
lock.announce()
if shows == "nothing":
    hold()
progress = Progress(me() if shows == "its own" else dataclasses.replace(me(), pid=1))
progress.move()
print("ready", flush=True)
for _ in sys.stdin:
    progress.move()
    print("moved", flush=True)
"""


def move(holder: Sleeper) -> None:
    """Let a process that shows its own progress make some."""
    stdin, stdout = holder.process.stdin, holder.process.stdout
    assert stdin is not None and stdout is not None
    stdin.write("\n")
    stdin.flush()
    assert stdout.readline() == "moved\n"


@contextmanager
def frozen_slave(pair: Pair) -> Iterator[Identity]:
    """A frozen process that holds the slave's role, adopted by its program."""
    with holding(pair, "slave") as slave:
        slave.signal(signal.SIGSTOP, "T")
        pair.programs["slave"].look()
        yield slave.identity


def turn_for(pair: Pair, clock: "Clock", seconds: int, role: RoleName = "slave") -> None:
    """Turn supervisord's loop once a second of its own clock."""
    for _ in range(seconds):
        clock.now_s += 1
        pair.programs[role].transition()


class Clock:
    """The monotonic clock, that nobody else moves: nothing may be waited for meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
