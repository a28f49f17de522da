"""Fork and exec of a role, so that it survives us: its own session, files for output, nothing shared.

``os.fork`` is unsupported in a process that uses gRPC; ``subprocess`` forks and execs in C. Called from the
main thread only: PR_SET_PDEATHSIG and the like would follow the thread.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from snsnode.base import aside
from snsnode.base.errors import Unavailable
from snsnode.node import ending
from snsnode.node.config import NodeConfig, RoleName
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify


@dataclass(frozen=True, slots=True)
class Child:
    """A process that we started; reaped by ``reap``."""

    process: subprocess.Popen[bytes]
    identity: Identity


def command(role: RoleName, config: NodeConfig, *more: str) -> list[str]:
    """Return the command line of a role; ``supervisord.conf`` has the same."""
    # -P: the working directory, the VM's folder, is no place to import from.
    return [sys.executable, "-P", "-m", f"snsnode.{role}", config.vm, *more]


def spawn(vm_dir: VmDir, config: NodeConfig, role: RoleName, *more: str, stdin: int | None = None) -> Child:
    """Start ``role`` as a process of its own session; its output goes to the end of its log.

    Raises:
        Unavailable: the process could not be started (no memory, no process slot, no file); none of it is left.
    """
    try:
        with _output(vm_dir.log(role)) as output:
            process = subprocess.Popen(
                command(role, config, *more),
                cwd=vm_dir.path,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=_environment(),
            )
    except OSError as error:
        raise Unavailable(f"cannot start the {role} of {config.vm}: {error}") from None
    try:
        identity = identify(process.pid)
    except OSError as error:  # no descriptor was left to read /proc, and we cannot watch what we cannot name
        ending.kill_child(process)
        process.wait()
        raise Unavailable(f"cannot name the {role} of {config.vm} that was started: {error}") from None
    assert identity is not None  # a child of ours keeps its pid until we reap it
    return Child(process, identity)


def _output(log: Path) -> IO[bytes]:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside.clear_way(log)  # to open a pipe would wait for ever
    return log.open("ab", buffering=0)


def _environment() -> dict[str, str]:
    """Return our environment without what supervisord tells its own children: the heir is not one."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SUPERVISOR_")}
