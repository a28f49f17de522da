"""Asking a router: one channel for all clients of an event loop that ask the same one at the same time.

Called by ``keeper``. A channel is made for the first who asks and closed with the last, so that a client that is
content keeps nothing open, and one that lost its server never waits for the back-off of an old channel.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import grpc

from snsnode.base.errors import DeadlineExceeded, Unavailable
from snsnode.client.moves import Server
from snsnode.client.rounds import ASK_TIMEOUT_S, WAIT_MS
from snsnode.client.turns import Tell, turns
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2, social_pb2
from snsnode.transport.channels import call, open_channel

ASKS_MAX = 4  # at a time, of one process to one router: enough to hide the way there and back


class _Line:
    """A channel and how many ask through it."""

    def __init__(self, target: str) -> None:
        self.channel = open_channel(target)
        self.users = 0


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Line]] = WeakKeyDictionary()


async def ask_router(
    target: str,
    caller: social_pb2.Caller,
    unreachable: Server | None,
    full: Iterable[Server],
    queued: Tell,
    begun: Tell,
) -> Server:
    """Ask the router at ``target`` for the available server; ``queued`` and ``begun`` as in ``Turns.turn``.

    Raises:
        SnsError: no answer in time, or no server.
    """
    request = router_pb2.ClientConnect(
        username=caller.username,
        client_id=caller.client_id,
        unreachable=None if unreachable is None else _info(unreachable),
        wait_ms=WAIT_MS,
        full=[_info(server) for server in full],
    )
    asking = turns("ask", target, ASKS_MAX)
    async with asking.turn(queued, begun, (Unavailable, DeadlineExceeded)), _channel(target) as channel:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        info: server_pb2.ServerInfo = await call(stub.Connect, request, ASK_TIMEOUT_S)
        if not info.hostname or not 0 < info.port < 65536:
            raise Unavailable(f"it answered with no usable address ({info.hostname!r}, port {info.port})")
        return Server(info.vm, info.hostname, info.port, info.epoch)


@asynccontextmanager
async def _channel(target: str) -> AsyncIterator[grpc.aio.Channel]:
    lines = _of_loop.setdefault(asyncio.get_running_loop(), {})
    line = lines.get(target)
    if line is None or line.channel.get_state() in _FAILED:
        line = lines[target] = _Line(target)
    line.users += 1
    try:
        yield line.channel
    except (Unavailable, DeadlineExceeded):
        _forget(lines, target, line)  # the next one tries afresh
        raise
    finally:
        line.users -= 1
        if not line.users:
            _forget(lines, target, line)
            await line.channel.close()


_FAILED = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


def _forget(lines: dict[str, _Line], target: str, line: _Line) -> None:
    if lines.get(target) is line:
        del lines[target]


def _info(server: Server) -> server_pb2.ServerInfo:
    return server_pb2.ServerInfo(vm=server.vm, hostname=server.host, port=server.port, epoch=server.epoch)
