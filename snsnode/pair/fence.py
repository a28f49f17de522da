"""Kill before replace: nobody is replaced who could still act.

The victim is pinned by a pidfd that was checked against its start time, so a recycled pid is never shot; then
its death is awaited, with which the kernel has released its lock and its port. The successor raises the epoch
under the role's lock before it binds, so that even what a victim left in flight is refused.
"""

import asyncio
import contextlib
import logging
import os

from snsnode.node import ending
from snsnode.node.ending import Outcome
from snsnode.node.process import Identity, open_pidfd

log = logging.getLogger(__name__)

DIES_WITHIN_S = 5.0


async def kill_and_await(victim: Identity) -> Outcome:
    """SIGKILL ``victim`` if it lives and wait for its death: as ``ending.kill_and_wait``, on an event loop.

    A process in uninterruptible sleep dies only when its system call returns; until then nobody may replace it,
    and the caller tries again.
    """
    outcome = ending.kill(victim)
    if outcome is Outcome.SIGNALLED:
        outcome = Outcome.DEAD if await await_death(victim, DIES_WITHIN_S) else Outcome.STAYS
    if not outcome.is_dead:
        log.warning("process %d %s: nobody may take its place yet; trying again", victim.pid, outcome.value)
    return outcome


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
