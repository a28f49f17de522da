"""Ask every router for its table and every master for a KeepAlive, all at once, bounded in time.

Imports gRPC, which takes a while: ``status`` imports it when its other questions are under way.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from snsnode.base.errors import SnsError
from snsnode.control.orders import table
from snsnode.node.config import Endpoint
from snsnode.rpc import master_pb2_grpc, router_pb2, server_pb2
from snsnode.transport.channels import call, open_channel

_STATES = {
    server_pb2.SERVER_STATE_AVAILABLE: "AVAILABLE",
    server_pb2.SERVER_STATE_STANDBY: "STANDBY",
    server_pb2.SERVER_STATE_SUSPECT: "SUSPECT",
    server_pb2.SERVER_STATE_DOWN: "DOWN",
}


@dataclass(frozen=True, slots=True)
class ServerSaid:
    """What a router says of one server."""

    state: str
    epoch: int
    clients: int
    leaving: bool


@dataclass(frozen=True, slots=True)
class RouterSaid:
    """What a router says: whom it gives to clients ("": nobody), and all servers that it knows, by VM."""

    available: str
    servers: dict[str, ServerSaid]
    uptime_s: float


@dataclass(frozen=True, slots=True)
class MasterSaid:
    """What a master says of itself."""

    pid: int
    epoch: int


def ask(
    routers: Sequence[Endpoint], masters: Sequence[Endpoint], until_s: float
) -> tuple[list[RouterSaid | None], list[MasterSaid | None]]:
    """Return the answers in order, None for each that did not come until ``until_s`` of the monotonic clock."""

    async def routers_said() -> list[RouterSaid | None]:
        return list(await asyncio.gather(*(_router(router, until_s) for router in routers)))

    async def masters_said() -> list[MasterSaid | None]:
        return list(await asyncio.gather(*(_master(master, until_s) for master in masters)))

    async def both() -> tuple[list[RouterSaid | None], list[MasterSaid | None]]:
        return await asyncio.gather(routers_said(), masters_said())

    return asyncio.run(both())


async def _router(router: Endpoint, until_s: float) -> RouterSaid | None:
    reply = await table(router, until_s - time.monotonic())
    return _said(reply) if reply is not None else None


def _said(reply: router_pb2.TableReply) -> RouterSaid:
    servers = {
        info.vm: ServerSaid(_STATES.get(info.state, "SUSPECT"), info.epoch, info.clients, info.leaving)
        for info in reply.servers
    }
    return RouterSaid(reply.available_vm, servers, round(reply.uptime_ms / 1000, 1))


async def _master(server: Endpoint, until_s: float) -> MasterSaid | None:
    channel = open_channel(server.target)
    try:
        stub: Any = master_pb2_grpc.MasterStub(channel)
        request = server_pb2.KeepAliveRequest(vm=server.vm)
        reply = await call(stub.KeepAlive, request, until_s - time.monotonic())
        return MasterSaid(reply.pid, reply.epoch)
    except SnsError:
        return None
    finally:
        await channel.close()
