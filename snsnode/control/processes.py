"""Which processes belong to a VM's folder, found in ``/proc`` alone.

Locks, pid files and sockets are files, and files can be removed under running processes. A stop that says
"stopped" must hold then too, so it ends by asking the kernel: whose working directory is the folder, and is it one
of ours by its command line?
"""

import contextlib
import itertools
import os
import signal
import time
from pathlib import Path

from snsnode.node.process import Identity, identify, is_alive, send_signal, wait_dead

ROLE_MODULES = tuple(f"snsnode.{role}" for role in ("router", "slave", "master"))
_DELETED = " (deleted)"  # what the kernel adds to the name of a folder that was removed


def roles_of(folder: Path) -> list[Identity]:
    """Return the live routers, slaves, masters and spares that run in ``folder``."""
    return [found for found, arguments in _in(folder) if _follows(arguments, "-m", ROLE_MODULES)]


def supervisords_of(folder: Path) -> list[Identity]:
    """Return the live supervisords of ``folder``: their configuration makes it their working directory."""
    return [found for found, arguments in _in(folder) if _is_supervisord(arguments)]


def end(victims: list[Identity], grace_s: float) -> None:
    """SIGTERM all, then SIGKILL what is left after ``grace_s``, and wait for their death."""
    for victim in victims:
        send_signal(victim, signal.SIGTERM)
    until_s = time.monotonic() + grace_s
    for victim in victims:
        wait_dead(victim, max(0.0, until_s - time.monotonic()))
    kill_at_once([victim for victim in victims if is_alive(victim)])


def kill_at_once(victims: list[Identity], within_s: float = 5.0) -> None:
    """Kill all, so that none lives to act on the death of another: frozen first, then killed."""
    for signum in (signal.SIGSTOP, signal.SIGKILL):
        for victim in victims:
            send_signal(victim, signum)
    for victim in victims:
        wait_dead(victim, within_s)


def holders(paths: tuple[Path, ...]) -> list[str]:
    """Name the other processes that hold POSIX locks on one of ``paths``, as SQLite does on what it has open."""
    files: set[tuple[int, int]] = set()
    for path in paths:
        with contextlib.suppress(OSError):
            files.add(_file(path))
    inodes = {str(inode) for _, inode in files}
    pids: dict[str, None] = {}
    with contextlib.suppress(OSError):
        # 1: POSIX  ADVISORY  READ 4242 fd:01:1310735 128 128     (proc_locks(5)); "->" marks one that waits
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if len(fields) >= 6 and fields[1] == "POSIX" and fields[5].rpartition(":")[2] in inodes:
                pids[fields[4]] = None
    return [_named(pid) for pid in pids if pid != str(os.getpid()) and _has_open(pid, files)]


def _has_open(pid: str, files: set[tuple[int, int]]) -> bool:
    """Tell whether a process has one of ``files`` open: an inode's number may be that of another disk's file."""
    try:
        descriptors = list(Path("/proc", pid, "fd").iterdir())
    except OSError:
        return True  # not ours to look into: believe the lock
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            if _file(descriptor) in files:
                return True
    return False


def _file(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _named(pid: str) -> str:
    try:
        words = Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").split()
    except OSError:
        return "another process"
    return f"process {pid} ({' '.join(words)[:80]})"


def _in(folder: Path) -> list[tuple[Identity, list[str]]]:
    real = os.path.realpath(folder)  # as the kernel names it: a home may be reached by a link
    names = (real, real + _DELETED)
    found: list[tuple[Identity, list[str]]] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((entry / "cwd").readlink()) not in names:
                continue
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            identity = identify(int(entry.name))
            if identity is not None and is_alive(identity):
                found.append((identity, arguments))
    return found


def _is_supervisord(arguments: list[str]) -> bool:
    scripts = [Path(argument).name for argument in arguments[:2]]  # as itself, or as its interpreter's script
    return "supervisord" in scripts or _follows(arguments, "-m", ("supervisor.supervisord",))


def _follows(arguments: list[str], flag: str, values: tuple[str, ...]) -> bool:
    return any(a == flag and b in values for a, b in itertools.pairwise(arguments))
