"""Which roles run in a VM's folder, found in ``/proc`` alone; its supervisord: see ``supervisords``.

Locks, pid files and sockets are files, and files can be removed under running processes. A stop that says
"stopped" must hold then too, so it ends by asking the kernel: whose working directory is the folder, and does its
interpreter run one of our roles, for this very VM?
"""

import contextlib
import os
from pathlib import Path

from snsnode.node.process import Identity, identify, is_alive

ROLE_MODULES = tuple(f"snsnode.{role}" for role in ("router", "slave", "master"))
_DELETED = " (deleted)"  # what the kernel adds to the name of a folder that was removed


def roles_of(folder: Path) -> list[Identity]:
    """Return the live routers, slaves, masters and spares that run in ``folder``."""
    return [found for found, arguments in _in(folder) if _is_role(folder, arguments)]


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


def arguments_of(entry: Path) -> list[str]:
    """Return the command line of the process of ``entry``, its folder in ``/proc``."""
    return (entry / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")


def working_folder(entry: Path) -> str:
    """Return where a process works, also where that folder was removed; "" where it is not ours to know."""
    try:
        return str((entry / "cwd").readlink()).removesuffix(_DELETED)
    except OSError:
        return ""


def working_folders() -> set[str]:
    """Return the working folders of all processes, as the kernel names them."""
    return {working_folder(entry) for entry in Path("/proc").glob("[0-9]*")}


def is_supervisord(arguments: list[str]) -> bool:
    """Tell whether a command line is a supervisord's: the script, or the module, that the interpreter runs."""
    kind, what, _ = _program(arguments)
    return what == "supervisor.supervisord" if kind == "module" else Path(what).name == "supervisord"


def describe(identity: Identity) -> str:
    """Name a process for people: ``process 4242 (python -m something)``."""
    try:
        program, *rest = arguments_of(Path(f"/proc/{identity.pid}"))
    except OSError:
        return f"process {identity.pid}"
    words = " ".join([Path(program).name, *rest]).split()
    return f"process {identity.pid} ({' '.join(words)[:100]})"


def is_role(identity: Identity, role: str) -> bool:
    """Tell whether a process runs ``role``, of whatever VM."""
    try:
        kind, what, _ = _program(arguments_of(Path(f"/proc/{identity.pid}")))
    except OSError:
        return False
    return (kind, what) == ("module", f"snsnode.{role}")


def _program(arguments: list[str]) -> tuple[str, str, list[str]]:
    """Return what a command line runs: "module" or "script", its name, and what follows."""
    if not Path(arguments[0]).name.startswith("python"):
        return "script", arguments[0], arguments[1:]
    rest = arguments[1:]
    while rest and rest[0].startswith("-"):
        if rest[0] == "-m" or rest[0] == "-c":
            return "module" if rest[0] == "-m" else "code", rest[1] if len(rest) > 1 else "", rest[2:]
        rest = rest[2 if rest[0] in ("-X", "-W") else 1 :]
    return "script", rest[0] if rest else "", rest[1:]


def _is_role(folder: Path, arguments: list[str]) -> bool:
    kind, what, more = _program(arguments)
    return kind == "module" and what in ROLE_MODULES and more[:1] == [folder.name]


def _in(folder: Path) -> list[tuple[Identity, list[str]]]:
    real = os.path.realpath(folder)  # as the kernel names it: a home may be reached by a link
    found: list[tuple[Identity, list[str]]] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if working_folder(entry) != real:
                continue
            arguments = arguments_of(entry)
            identity = identify(int(entry.name))
            if identity is not None and is_alive(identity):
                found.append((identity, arguments))
    return found
