"""A pidfd in supervisord's main loop: the death of a process that is not its child is noticed at once.

supervisord polls the file descriptors of its dispatchers and wakes for its own children's SIGCHLD; for anybody
else's child it would look only once a second.
"""

import os
from typing import Any

from supervisor.dispatchers import PDispatcher

from snsnode.node.process import Identity, open_pidfd


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


def hang(process: Any, identity: Identity) -> dict[int, Bell]:
    """Return ``process.dispatchers`` with a bell on ``identity``; empty where it died or no descriptor is free."""
    pidfd = open_pidfd(identity)
    return {} if pidfd is None else {pidfd: Bell(process, "pidfd", pidfd)}
