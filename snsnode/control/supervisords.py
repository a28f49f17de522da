"""Which processes are a VM's supervisord: proven by what the kernel knows of them, not by how they look.

A supervisord may have been started in any folder, with ``-n``, under another name, or by other tools, and
its socket and pid file may be gone. Four things tell of it, and two of them together are proof:

1. it listens on the VM's supervisor socket: the kernel keeps the name also when the file is gone;
2. it has the VM's ``log/supervisord.log`` open for writing;
3. ``run/supervisord.pid`` names it, and was written after it started;
4. its command line is a supervisord's with the VM's configuration.

With one of them alone it is left alone, and told.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from snsnode.base import reading
from snsnode.control import processes
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify, is_alive

_PROOF = 2
_SOCKET = re.compile(
    r"(?P<folder>.+)/run/supervisor\.sock(\.\d+)?"
)  # supervisor binds a name with its pid, and links it
_CONFIG = re.compile(r"-[nskthv]*c(?P<short>.*)|--co[a-z]*(=(?P<long>.*))?", re.DOTALL)  # as getopt takes it
_LISTENS = "00010000"  # the flag __SO_ACCEPTCON of /proc/net/unix
_WRITES = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A process, and what tells of it; ``named`` where one could take it for a supervisord of the VM."""

    identity: Identity
    parent: int
    proofs: int
    named: bool


def supervisords_of(folder: Path) -> list[Identity]:
    """Return the live processes that are proven to be the supervisord of the VM in ``folder``."""
    found = [candidate for candidate in _candidates(folder) if candidate.proofs >= _PROOF]
    pids = {candidate.identity.pid for candidate in found}
    # A child that was forked just now is still a copy of its parent: it will be a role.
    return [candidate.identity for candidate in found if candidate.parent not in pids]


def unproven_of(folder: Path) -> list[Identity]:
    """Return the live processes that may be such a supervisord, or become one, and are not proven to be."""
    proven = {found.pid for found in supervisords_of(folder)}
    return [
        candidate.identity
        for candidate in _candidates(folder)
        if candidate.named and candidate.proofs < _PROOF and candidate.parent not in proven
    ]


def folders_in_use() -> set[str]:
    """Return every folder, as the kernel names it, whose supervisord some process is or may be."""
    found = {folder for folder, _ in _listeners()}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for path in _configurations(entry, processes.arguments_of(entry)):
                found.add(os.path.dirname(path))  # noqa: PTH120 - text of the kernel, not a path of ours
    return found


def _candidates(folder: Path) -> Iterator[_Candidate]:
    real = os.path.realpath(folder)
    sockets = {socket for where, socket in _listeners() if where == real}
    log = f"{real}/log/supervisord.log"
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = processes.arguments_of(entry)
            identity = identify(int(entry.name))
            if not any(arguments) or identity is None or identity.pid == os.getpid() or not is_alive(identity):
                continue
            configured = f"{real}/supervisord.conf" in _configurations(entry, arguments)
            listens, logs = _descriptors(entry, sockets, log)
            at_home = processes.is_supervisord(arguments) and processes.working_folder(entry) == real
            proofs = (listens, logs, _is_in_pid_file(folder, identity), configured or at_home)
            if any(proofs):
                explicit = configured and any(_CONFIG.fullmatch(argument) for argument in arguments)
                yield _Candidate(identity, _parent(entry), sum(proofs), listens or explicit)


def _listeners() -> set[tuple[str, str]]:
    """Return the VMs' folders that a listening supervisor socket names, each with that socket."""
    found: set[tuple[str, str]] = set()
    with contextlib.suppress(OSError):
        # Num RefCount Protocol Flags Type St Inode Path        (proc(5))
        for line in Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]:
            fields = line.split(maxsplit=7)
            if len(fields) == 8 and fields[3] == _LISTENS and (match := _SOCKET.fullmatch(fields[7])):
                found.add((os.path.realpath(match["folder"]), f"socket:[{fields[6]}]"))
    return found


def _descriptors(entry: Path, sockets: set[str], log: str) -> tuple[bool, bool]:
    """Tell whether a process has one of ``sockets`` open, and whether it writes ``log``."""
    listens = logs = False
    try:
        descriptors = list((entry / "fd").iterdir())
    except OSError:
        return False, False  # another user's, or gone
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            listens = listens or target in sockets
            # A log that was moved away or removed is still the one that it writes.
            logs = logs or (target.startswith(log) and _is_written(entry, descriptor.name))
    return listens, logs


def _is_written(entry: Path, descriptor: str) -> bool:
    for line in (entry / "fdinfo" / descriptor).read_text().splitlines():
        if line.startswith("flags:"):
            return bool(int(line.split()[1], 8) & _WRITES)
    return False


def _is_in_pid_file(folder: Path, identity: Identity) -> bool:
    path = VmDir(folder).supervisor_pid
    try:
        named = reading.read_bytes(path).split() == [str(identity.pid).encode()]
        # The number may have gone to another process since.
        return named and identity.uptime_s + 1 >= time.time() - path.stat().st_mtime
    except (OSError, reading.Damaged):
        return False


def _configurations(entry: Path, arguments: list[str]) -> set[str]:
    """Return the files that may be a process's configuration; none where it is no supervisord by its command line.

    A relative one counts from where the process was started. A daemon has left that folder; its shell's word of it
    may still stand in the environment.
    """
    if not processes.is_supervisord(arguments):
        return set()
    bases = [processes.working_folder(entry)]
    with contextlib.suppress(OSError):
        for variable in (entry / "environ").read_bytes().decode(errors="surrogateescape").split("\0"):
            if variable.startswith("PWD=/"):
                bases.append(variable.removeprefix("PWD="))
    given = _given(arguments) or "supervisord.conf"
    return {os.path.realpath(os.path.join(base, given)) for base in bases if base}  # noqa: PTH118


def _given(arguments: list[str]) -> str:
    for number, argument in enumerate(arguments):
        if number and (match := _CONFIG.fullmatch(argument)):
            following = arguments[number + 1] if number + 1 < len(arguments) else ""
            return match["short"] or match["long"] or following
    return ""


def _parent(entry: Path) -> int:
    return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
