"""Kill before replace: nobody is replaced who could still act.

The victim is pinned by a pidfd that was checked against its start time, so a recycled pid is never shot; then
its death is awaited, with which the kernel has released its lock and its port. The successor raises the epoch
under the role's lock before it binds, so that even what a victim left in flight is refused.
"""

import asyncio
import contextlib
import logging
import os
import signal

from snsnode.node.process import Identity, open_pidfd, send_signal

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 5.0


async def kill_and_await(victim: Identity) -> None:
    """SIGKILL ``victim`` if it lives and return when it is dead.

    A process in uninterruptible sleep dies only when its system call returns; until then nobody may replace it,
    and this waits, however long.
    """
    if not send_signal(victim, signal.SIGKILL):
        return
    while not await await_death(victim, _REPORT_EVERY_S):
        log.warning("process %d does not die: it is in a system call; waiting", victim.pid)


async def await_death(identity: Identity, within_s: float) -> bool:
    """Wait for the process's death, which a pidfd tells within milliseconds; False after ``within_s``."""
    pidfd = open_pidfd(identity)
    if pidfd is None:
        return True
    loop = asyncio.get_running_loop()
    dead = asyncio.Event()
    loop.add_reader(pidfd, dead.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await dead.wait()
        return dead.is_set()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
