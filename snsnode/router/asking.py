"""Asks a server itself who it is: what others say of it may be an error or a lie.

Called by ``service`` for words that do not come from the server's own machine, for servers that are not known, and
for epochs and claims that leap. Only servers of the spec are asked, at the spec's addresses, each once at a time
for all callers that want to know: so a caller costs the router, and the server, little.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from snsnode.base.errors import InvalidInput, SnsError
from snsnode.base.ids import Epoch
from snsnode.node.config import Endpoint
from snsnode.router.table import Server
from snsnode.router.wire import server_of
from snsnode.rpc import master_pb2_grpc, server_pb2
from snsnode.transport.channels import call, open_channel

log = logging.getLogger(__name__)

ASK_S = 0.6  # for an answer; a registration that waits for it is given up by its master after 1 s
AT_ONCE = 32  # servers that are asked at the same time
APART_S = 0.05  # between two questions to one server, however many want to know

Ask = Callable[[Endpoint, float], Awaitable["server_pb2.KeepAliveReply | None"]]


async def who_is(endpoint: Endpoint, within_s: float) -> server_pb2.KeepAliveReply | None:
    """Ask the master at ``endpoint``; None where nobody answers in time, or another VM's master does."""
    channel = open_channel(endpoint.target)
    try:
        stub: Any = master_pb2_grpc.MasterStub(channel)
        # A master refuses a name that is not its own, also in versions that do not tell theirs.
        reply: server_pb2.KeepAliveReply = await call(
            stub.KeepAlive, server_pb2.KeepAliveRequest(vm=endpoint.vm), within_s
        )
    except SnsError:
        return None
    else:
        return reply
    finally:
        await channel.close()


class Asking:
    """Asks servers, a bounded number at once; ``run`` must run for answers to come."""

    def __init__(self, ask: Ask = who_is) -> None:
        self._ask = ask
        self._wanted: asyncio.Queue[Endpoint] = asyncio.Queue()  # each at most once, so as many as the spec has
        self._answers: dict[Endpoint, asyncio.Future[server_pb2.KeepAliveReply | None]] = {}
        self._asked_s: dict[Endpoint, float] = {}

    async def answer(self, endpoint: Endpoint) -> server_pb2.KeepAliveReply | None:
        """Return what the server at ``endpoint`` says of itself; None where it says nothing."""
        answer = self._answers.get(endpoint)
        if answer is None:
            answer = self._answers[endpoint] = asyncio.get_running_loop().create_future()
            self._wanted.put_nowait(endpoint)
        return await asyncio.shield(answer)  # a caller that gives up must not cancel the others' answer

    def forget(self, known: Collection[Endpoint]) -> None:
        """Keep nothing of servers that are not ``known`` any more."""
        self._asked_s = {endpoint: at_s for endpoint, at_s in self._asked_s.items() if endpoint in known}

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(self._work(), name=f"ask-{number}")

    async def _work(self) -> None:
        while True:
            endpoint = await self._wanted.get()
            await asyncio.sleep(self._asked_s.get(endpoint, 0.0) + APART_S - time.monotonic())
            self._asked_s[endpoint] = time.monotonic()
            reply = None
            try:
                reply = await self._ask(endpoint, ASK_S)
            except Exception:
                log.exception("cannot ask %s at %s", endpoint.vm, endpoint.target)
            finally:
                answer = self._answers.pop(endpoint)
                if not answer.done():
                    answer.set_result(reply)


def own_word(endpoint: Endpoint, reply: server_pb2.KeepAliveReply) -> Server | None:
    """Return the registration in a server's answer; None where one of an older version tells its epoch only."""
    if not reply.HasField("server"):
        return None
    try:
        server = server_of(reply.server)
    except InvalidInput:
        return None
    if server.vm != endpoint.vm or server.epoch != Epoch(reply.epoch):
        return None
    return server
