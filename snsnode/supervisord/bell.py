"""A pidfd in supervisord's main loop: the death of a process that is not its child is noticed at once.

supervisord polls the file descriptors of its dispatchers and wakes for its own children's SIGCHLD; for anybody
else's child it would look only once a second. The pidfd also tells how a process ended that somebody else reaps.
"""

import fcntl
import os
import struct
from pathlib import Path
from typing import Any

from supervisor.dispatchers import PDispatcher

from snsnode.node.process import Identity, open_pidfd, state_of

# ioctl_pidfd(2), include/uapi/linux/pidfd.h
_GET_INFO = 0xC040FF0B
_INFO_BYTES = 64
_INFO_EXIT = 1 << 3  # since Linux 6.15
_EXIT_CODE_AT = 60
_STAT_EXIT_CODE = 49  # field 52 of proc(5), counted after the command's name


class Bell(PDispatcher):  # type: ignore[misc] # supervisor has no types
    """Rings ``process.look`` when the process behind ``fd``, a pidfd, is dead. Owns ``fd``."""

    process: Any
    fd: int
    closed: bool

    def readable(self) -> bool:
        """Tell supervisord to poll the pidfd."""
        return not self.closed

    def writable(self) -> bool:
        """Nothing is ever written."""
        return False

    def handle_read_event(self) -> None:
        """It is dead (also called by ``drain``, at any time)."""
        self.process.look()

    def close(self) -> None:
        """Close the pidfd; safe to call twice."""
        if not self.closed:
            PDispatcher.close(self)
            os.close(self.fd)

    def wait_status(self, identity: Identity) -> int | None:
        """Return how ``identity``, which is dead, ended, as waitpid(2) does; None where nobody tells us."""
        status = self._reaped_status()
        if status is None:
            status = _zombie_status(identity)
        # Its parent may have reaped it between these two questions.
        return self._reaped_status() if status is None else status

    def _reaped_status(self) -> int | None:
        info = bytearray(_INFO_BYTES)
        struct.pack_into("=Q", info, 0, _INFO_EXIT)
        try:
            fcntl.ioctl(self.fd, _GET_INFO, info, True)
        except OSError:  # an older kernel
            return None
        known = struct.unpack_from("=Q", info)[0] & _INFO_EXIT
        return int(struct.unpack_from("=i", info, _EXIT_CODE_AT)[0]) if known else None


def _zombie_status(identity: Identity) -> int | None:
    """Return the exit code of proc(5), which is there until the parent has reaped it."""
    if state_of(identity) != "Z":
        return None
    try:
        fields = Path(f"/proc/{identity.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[_STAT_EXIT_CODE])
    except (OSError, ValueError, IndexError):
        return None


def attach(process: Any, identity: Identity) -> dict[int, Bell]:
    """Return ``process.dispatchers`` with a bell on ``identity``; empty where it died or no descriptor is free."""
    pidfd = open_pidfd(identity)
    return {} if pidfd is None else {pidfd: Bell(process, "pidfd", pidfd)}
