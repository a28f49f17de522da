"""The progress counter of a role, which its event loop moves and others read.

A KeepAlive that is answered shows that threads run, a counter that moves shows that the event loop turns. It is in
the memory of its process alone (memfd_create(2)), and others find it under /proc/PID/fd (proc(5)): no disk that is
full, read-only or hanging keeps a partner from showing that it lives, nobody can remove it, and nothing of it is
left. A slave and a master look at each other's, by ``ProgressReader``: it keeps the memory mapped, so that a look
costs no system call and it may look ten times a second. supervisord looks at a slave's as well, for the case that
nobody else replaced a slave that hangs, and at a router's, which has no partner, by ``read_once``: whatever lives
inside supervisord must keep no descriptor, because a reload closes all descriptors behind their owners' backs.
"""

import contextlib
import fcntl
import mmap
import os
import struct
from pathlib import Path

from snsnode.node.process import Identity

_NAME = "snsnode-progress"
_LINK = f"/memfd:{_NAME} (deleted)"
_RECORD = struct.Struct("<QQQ")  # pid, start ticks, counter
_PR_SET_DUMPABLE = 4


class Progress:
    """The writer's side: moves while the event loop turns. ``identity`` is that of this process."""

    def __init__(self, identity: Identity) -> None:
        descriptor = os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, _RECORD.size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # which would be a reader's SIGBUS
            self._memory = mmap.mmap(descriptor, _RECORD.size)  # keeps a descriptor of its own
        finally:
            os.close(descriptor)
        _let_partners_look()
        self._identity = identity
        self.count = 0

    def move(self) -> None:
        """Count one more turn."""
        self.count += 1
        _RECORD.pack_into(self._memory, 0, self._identity.pid, self._identity.start_ticks, self.count)


class ProgressReader:
    """The watcher's side, for one process after another. Keeps a descriptor, so it is not for supervisord."""

    def __init__(self) -> None:
        self._whose: Identity | None = None
        self._memory: mmap.mmap | None = None

    def read(self, identity: Identity) -> int | None:
        """Return the counter of exactly this process; None before it moved."""
        if self._memory is None or self._whose != identity:
            self._whose, self._memory = identity, _find(identity.pid)
        if self._memory is None:
            return None
        return _count(self._memory, identity)


def read_once(identity: Identity) -> int | None:
    """Return the counter of exactly this process, keeping nothing open; None before it moved and after its end."""
    descriptor = _open(identity.pid)
    if descriptor is None:
        return None
    try:
        record = os.pread(descriptor, _RECORD.size, 0)
    finally:
        os.close(descriptor)
    return _count(record, identity) if len(record) == _RECORD.size else None


def _count(record: bytes | mmap.mmap, identity: Identity) -> int | None:
    pid, start_ticks, count = _RECORD.unpack_from(record)
    return int(count) if (pid, start_ticks) == (identity.pid, identity.start_ticks) else None


def _find(pid: int) -> mmap.mmap | None:
    descriptor = _open(pid)
    if descriptor is None:
        return None
    try:
        return mmap.mmap(descriptor, _RECORD.size, prot=mmap.PROT_READ)
    except (OSError, ValueError):  # it was made only just, and has no size yet
        return None
    finally:
        os.close(descriptor)


def _open(pid: int) -> int | None:
    """Open the counter's memory of ``pid``; None where it shows none. The caller closes the descriptor."""
    with contextlib.suppress(OSError):  # the process ended
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since
                if str(link.readlink()) == _LINK:
                    return os.open(link, os.O_RDONLY)
    return None


def _let_partners_look() -> None:
    """Undo that the kernel hides /proc/self from our own user, as for a Python with capabilities (prctl(2))."""
    if Path("/proc/self/fd").stat().st_uid != os.geteuid():
        import ctypes  # rarely needed, and slow to import

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1)
