"""The table as it is now, and who must hear of a change: waiting clients, probes, other routers.

``service`` and ``belief`` share one. Every ``await`` may change it: what was looked up before one may be gone
after it, so both ask with ``known`` and ``member``, which answer None.
"""

import asyncio
import logging
from collections.abc import Callable

from snsnode.base.ids import Epoch, VmName
from snsnode.node.config import Endpoint
from snsnode.router.table import Server, Table

log = logging.getLogger(__name__)


class Present:
    """Holds one table; ``on_news`` is called for a change that other routers must know."""

    def __init__(self, table: Table, on_news: Callable[[], None]) -> None:
        self.table = table
        self.changed = asyncio.Event()  # a new one for each piece of news
        self._on_news = on_news

    def known(self, vm: VmName) -> Server | None:
        """Return what the table has of ``vm``."""
        return self.table.servers.get(vm)

    def member(self, vm: VmName) -> Endpoint | None:
        """Return where the spec has the server ``vm``."""
        return self.table.members.get(vm)

    def has(self, server: Server) -> bool:
        """Tell whether the table still has this very incarnation, alive."""
        now = self.known(server.vm)
        return now is not None and not now.down and now.epoch == server.epoch

    def set(self, table: Table) -> None:
        """Take ``table``, and wake those who wait for news."""
        before, self.table = self.table, table
        if before.available != table.available:
            log.info("available: %s (was %s)", table.available, before.available)
        if is_news(before, table):
            self.changed.set()
            self.changed = asyncio.Event()
            self._on_news()


def is_news(before: Table, after: Table) -> bool:
    """Tell whether waiting clients and other routers must hear of a change now: of all but plain renewals."""
    if (before.available, before.claim) != (after.available, after.claim):
        return True
    if before.servers.keys() != after.servers.keys():
        return True
    pairs = ((before.servers[vm], server) for vm, server in after.servers.items())
    return any(_life(old) != _life(new) for old, new in pairs if old is not new)


def _life(server: Server) -> tuple[Epoch, bool, bool, bool, int]:
    return server.epoch, server.down, server.suspect, server.leaving, server.claim
