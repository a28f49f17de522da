"""The progress counter of a partner: eight bytes that its event loop moves, and others read.

A KeepAlive that is answered shows that threads run, a counter that moves shows that the event loop turns. Shared
memory costs the watcher nothing, so it may look ten times a second. A slave looks at its master's; at a slave's
looks only supervisord, where nobody else has replaced a slave that hangs.
"""

import mmap
import os
import struct

from snsnode.node.paths import VmDir
from snsnode.node.process import Identity

_RECORD = struct.Struct("<QQQ")  # pid, start ticks, counter


class Progress:
    """The writer's side: moves while the event loop turns."""

    def __init__(self, vm_dir: VmDir, role: str, identity: Identity) -> None:
        path = vm_dir.run / f"{role}.beat"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, mmap.PAGESIZE)  # a hole on a full disk would be a SIGBUS later
            self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        finally:
            os.close(descriptor)
        self._identity = identity
        self.count = 0

    def move(self) -> None:
        """Count one more turn."""
        self.count += 1
        _RECORD.pack_into(self._memory, 0, self._identity.pid, self._identity.start_ticks, self.count)


class ProgressReader:
    """The watcher's side."""

    def __init__(self, vm_dir: VmDir, role: str) -> None:
        self._path = vm_dir.run / f"{role}.beat"

    def read(self, identity: Identity) -> int | None:
        """Return the counter of exactly this process; None before it wrote one."""
        try:
            with self._path.open("rb") as file:
                pid, start_ticks, count = _RECORD.unpack(file.read(_RECORD.size))
        except (OSError, struct.error):
            return None
        return count if (pid, start_ticks) == (identity.pid, identity.start_ticks) else None
