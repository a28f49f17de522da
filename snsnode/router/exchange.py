"""A router's lines to the other routers: they tell each other their tables, both ways in one call.

Each second, and at once where something changed that the others must know. One that is dead or frozen holds up
nobody: each has a task of its own, and every call a deadline. That they are silent is no reason for anything.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from snsnode.base.errors import SnsError
from snsnode.node.config import Endpoint, NodeConfig
from snsnode.pair.routers import Router, Routers, retry_delay_s
from snsnode.router.peer import Machines
from snsnode.rpc import router_pb2

log = logging.getLogger(__name__)

EVERY_MAX_S = 1.0
LEASE_SHARE = 3  # so often within a lease: what registers with another router only must not be doubted here
APART_S = 0.05  # between two exchanges with one router at least, however much happens


class Exchange:
    """Exchanges with every other router of the configuration.

    ``tell`` gives our table; ``hear`` takes another's, which was told at the given monotonic time at the earliest.
    """

    def __init__(
        self,
        config: NodeConfig,
        routers: Sequence[Endpoint],
        tell: Callable[[], router_pb2.TableReply],
        hear: Callable[[router_pb2.TableReply, float], None],
        machines: Machines,
    ) -> None:
        self._vm = config.vm
        self._every_s = min(EVERY_MAX_S, config.keepalive.silence_s / LEASE_SHARE)
        self._tell = tell
        self._hear = hear
        self._machines = machines
        self._peers = self._others(routers)
        self._routers = Routers(self._peers, self._serve)

    async def run(self) -> None:
        """Exchange until cancelled."""
        await self._routers.run()

    def update(self, routers: Sequence[Endpoint]) -> None:
        """Exchange with these routers from now on."""
        self._peers = self._others(routers)
        self._routers.update(self._peers)

    async def knows(self, vm: str, peer: str) -> bool:
        """Tell whether ``vm`` has another router, and ``peer``, as gRPC names it, is of its machine."""
        router = next((endpoint for endpoint in self._peers if endpoint.vm == vm), None)
        return router is not None and await self._machines.is_from(peer, router.address)

    def news(self) -> None:
        """Tell everybody at once."""
        for router in self._routers.lines.values():
            router.news.set()

    def _others(self, routers: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in routers if endpoint.vm != self._vm)

    async def _serve(self, router: Router) -> None:
        failures = 0
        while True:
            router.news.clear()
            asked_s = time.monotonic()
            try:
                reply = await router.exchange(self._tell())
            except SnsError as error:
                if failures == 0:
                    log.warning("cannot exchange tables with %s: %s", router.endpoint.target, error.message)
                await asyncio.sleep(retry_delay_s(failures))
                failures += 1
                continue
            if failures:
                log.info("exchanging tables with %s again", router.endpoint.target)
            failures = 0
            # As of when we asked: what it says may be as old as that, and must not look younger than it is.
            self._hear(reply, asked_s)
            await asyncio.sleep(APART_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await router.news.wait()
