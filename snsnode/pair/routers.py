"""One VM's lines to all routers: masters register through them, slaves report crashes.

A router that does not answer is never a reason to restart anything: it is asked again, for ever, gently.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc

from snsnode.base.backoff import Backoff
from snsnode.base.errors import SnsError
from snsnode.node.config import Endpoint
from snsnode.pair.tasks import first_of
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2
from snsnode.transport.channels import call, open_channel

log = logging.getLogger(__name__)

TIMEOUT_S = 1.0
RETRY = Backoff(first_s=0.02, max_s=0.5)  # a router that is back knows everybody within a second


class Router:
    """The line to one router."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.news = asyncio.Event()  # set by the owner: there is something to tell
        self._channel = open_channel(endpoint.target)
        self._stub: Any = router_pb2_grpc.RouterStub(self._channel)

    async def register(
        self, info: server_pb2.ServerInfo, timeout_s: float = TIMEOUT_S
    ) -> server_pb2.KeepAliveReply:
        """Register or renew; raises SnsError."""
        return await call(self._stub.RegisterServer, info, timeout_s)

    async def crash(self, info: server_pb2.ServerInfo) -> server_pb2.KeepAliveReply:
        """Report a dead server; raises SnsError."""
        return await call(self._stub.Crash, info, TIMEOUT_S)

    async def exchange(self, table: router_pb2.TableReply) -> router_pb2.TableReply:
        """Tell a table and return the other's; raises SnsError."""
        return await call(self._stub.Exchange, table, TIMEOUT_S)

    def connect(self) -> None:
        """Begin to connect now, not with the first call."""
        self._channel.get_state(try_to_connect=True)

    async def rest(self, within_s: float) -> None:
        """Wait until the link breaks, or until ``news`` is set, at most ``within_s``."""
        ready = grpc.ChannelConnectivity.READY
        if self._channel.get_state() is ready:
            await first_of(self._channel.wait_for_state_change(ready), self.news.wait(), within_s=within_s)

    async def close(self) -> None:
        """Close the line."""
        await self._channel.close()


class Routers:
    """Runs one task for each router of the configuration, and follows its changes."""

    def __init__(self, endpoints: Sequence[Endpoint], serve: Callable[[Router], Awaitable[None]]) -> None:
        self._serve = serve
        self._wanted = tuple(endpoints)
        self._changed = asyncio.Event()
        self.lines: dict[Endpoint, Router] = {}
        self._ahead: dict[Endpoint, Router] = {}  # opened before ``run`` serves them

    def connect(self) -> None:
        """Open the lines ahead of ``run``, whose first calls then need not wait. ``close`` must follow."""
        for endpoint in self._wanted:
            self._ahead[endpoint] = Router(endpoint)
            self._ahead[endpoint].connect()

    async def close(self) -> None:
        """Close what ``connect`` opened and ``run`` never took over."""
        while self._ahead:
            _, line = self._ahead.popitem()
            await line.close()

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Use these routers from now on."""
        if tuple(endpoints) != self._wanted:
            self._wanted = tuple(endpoints)
            self._changed.set()

    async def run(self) -> None:
        """Serve every router until cancelled."""
        tasks: dict[Endpoint, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                for endpoint in self._wanted:
                    if endpoint not in tasks:
                        name = f"router-{endpoint.target}"
                        tasks[endpoint] = group.create_task(self._serve_one(endpoint), name=name)
                for endpoint in [known for known in tasks if known not in self._wanted]:
                    tasks.pop(endpoint).cancel()
                await self._changed.wait()
                self._changed.clear()

    async def _serve_one(self, endpoint: Endpoint) -> None:
        ahead = self._ahead.pop(endpoint, None)
        router = self.lines[endpoint] = Router(endpoint) if ahead is None else ahead
        try:
            await self._serve(router)
        finally:
            if self.lines.get(endpoint) is router:  # else it was taken out and put back, and has a new line
                del self.lines[endpoint]
            await router.close()


def retry_delay_s(attempt: int) -> float:
    """Return how long to wait before asking a silent router again."""
    return RETRY.around_s(attempt, random.random())


async def report_crash(router: Router, info: server_pb2.ServerInfo, is_last: Callable[[], bool]) -> None:
    """Tell ``router`` of a dead server until it has heard, or until there is a later death to tell of."""
    attempt = 0
    while is_last():
        try:
            reply = await router.crash(info)
        except SnsError as error:
            if attempt == 0:
                log.info("cannot report a crash to %s: %s", router.endpoint.target, error.message)
            await asyncio.sleep(retry_delay_s(attempt))
            attempt += 1
        else:
            log.info("%s knows of the crash of epoch %d: %s", router.endpoint.target, info.epoch, reply.message)
            return
