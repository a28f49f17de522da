"""The one owner of a server's epoch: it takes one from file and store under the lock, and hands it on frozen.

An incarnation is one life of a server under one epoch. A process may live through several: where a router knows a
higher epoch, it becomes the incarnation above that. Nobody else writes an epoch: who needs it (the registration,
KeepAlive, the journal) asks for ``now``.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from functools import partial

from snsnode.base.errors import Exhausted, StoreFailed, Unavailable
from snsnode.base.ids import Epoch
from snsnode.master.standing import risen
from snsnode.node import epoch as epochs
from snsnode.node.config import NodeConfig
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
from snsnode.pair import disk
from snsnode.pair.tasks import Tasks
from snsnode.store.protocol import Store

log = logging.getLogger(__name__)

CLAIM_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a server. ``claimed``: the store knows its epoch, and takes its writes; else it only reads."""

    epoch: Epoch
    claimed: bool = False


NOBODY = Incarnation(Epoch(0))


class Incarnations:
    """The incarnations of one process that holds the master's ``lock``, one after the other."""

    def __init__(self, vm_dir: VmDir, config: NodeConfig, lock: RoleLock, store: Store) -> None:
        self._vm_dir = vm_dir
        self._config = config
        self._lock = lock
        self._store = store
        self._now = NOBODY
        self._becoming = asyncio.Lock()
        self._rising = Tasks()

    @property
    def now(self) -> Incarnation:
        """Who we are now. Epoch 0: nobody yet."""
        return self._now

    def epoch(self) -> Epoch:
        """Return the epoch that we have now, from any thread."""
        return self._now.epoch

    def announce(self) -> None:
        """Write the pid file with our epoch; until we have one, our predecessor's, whose end may be untold."""
        epoch = self._now.epoch or epochs.take(self._vm_dir)
        self._lock.announce(epoch=epoch, config=self._config.digest("master"))

    async def rise(self) -> None:
        """Be the incarnation above the last one, as our own file and the store know it; raises as ``_become``."""
        own = epochs.take(self._vm_dir)
        if own > epochs.LEAP_MAX:  # the store is asked only where it may have to be believed instead
            async with self._becoming:
                stored = await self._claim(Epoch(1))
            if stored.claimed and epochs.is_beyond_belief(own, stored.epoch):
                epochs.disbelieve(self._vm_dir, own, stored.epoch)
                own = stored.epoch
        await self._become(Epoch(own + 1))

    async def rise_above(self, known: Epoch) -> None:
        """Rise above what a router knows of us: our folder was wiped, or we were declared dead.

        Where that fails, a master that serves goes on as it is, unregistered; its next renewal tries again.
        """
        at_least = risen(self._now.epoch, known)
        if at_least is None:
            return
        # Of its own: the line to the router that asks may end meanwhile, and half a claim refuses all writes.
        rising = self._rising.start(self._become(at_least), name="raise-epoch")
        try:
            await asyncio.shield(rising)
        except (Exhausted, StoreFailed) as error:
            log.error("%s", error.message)

    async def claim_later(self) -> None:
        """Claim in the store what it had no room for, until cancelled: a later claim may find no room either."""
        while True:
            await asyncio.sleep(CLAIM_RETRY_S)
            if not self._now.claimed:
                # The store may be above us and the disk full, or the store broken: reads are served on.
                with contextlib.suppress(Exhausted, StoreFailed):
                    await self._become(self._now.epoch)

    async def close(self) -> None:
        """End what still rises."""
        await self._rising.close()

    async def _become(self, at_least: Epoch) -> None:
        """Be the incarnation with an epoch of ``at_least``, or above the store's where that is higher.

        Raises:
            Exhausted: the epoch cannot be recorded; we must not serve under it.
        """
        async with self._becoming:
            at_least = max(at_least, self._now.epoch)  # we may have risen while this waited; no epoch falls
            # A disk that takes no record costs none of the store's epochs.
            await disk.do(partial(epochs.record, self._vm_dir, at_least))
            found = await self._claim(at_least)
            await disk.do(partial(epochs.record, self._vm_dir, found.epoch))
            self._now = found
            with contextlib.suppress(OSError):  # the lock's keeper writes it later
                self.announce()

    async def _claim(self, at_least: Epoch) -> Incarnation:
        while True:
            try:
                return Incarnation(await self._store.claim_epoch(self._config.vm, at_least), claimed=True)
            except Unavailable as error:
                # Somebody frozen holds the store's lock; its own partner is about to end it.
                log.warning("%s; trying again", error.message)
                await asyncio.sleep(CLAIM_RETRY_S)
            except Exhausted as error:
                # A full disk refuses posts; it must not refuse reads. The claim follows when there is room.
                log.error("%s; serving reads only", error.message)
                return Incarnation(at_least)
