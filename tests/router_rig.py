"""A router on a real server, asked through raw stubs; its probe is the test's, unless it wants the real one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import grpc
import pytest

from snsnode.base.ids import VmName
from snsnode.node.config import Endpoint, KeepAlive, NodeConfig, Restart
from snsnode.router.run import TABLE_MAX_BYTES
from snsnode.router.service import RouterService
from snsnode.router.spec import Members
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2
from snsnode.transport.channels import open_channel
from snsnode.transport.health import is_serving
from snsnode.transport.servers import bind, make_server
from tests.ports import free_port

STEP_S = 10.0
SILENCE_S = 1.0


def spec(**places: tuple[str, int]) -> tuple[Endpoint, ...]:
    """Return the servers of a spec."""
    return tuple(Endpoint(VmName(vm), *place) for vm, place in places.items())


SPEC = spec(vm2=("127.0.0.1", 3020), vm3=("127.0.0.1", 3020), vm4=("127.0.0.1", 3020))


def config(
    selection: Literal["single", "spread"] = "single", vm: str = "vm1", routers: tuple[Endpoint, ...] = ()
) -> NodeConfig:
    return NodeConfig(
        cluster="local",
        vm=VmName(vm),
        address="127.0.0.1",
        router_port=1,
        server_port=None,
        routers=routers,
        store="sqlite:///sns.db",
        selection=selection,
        spare=True,
        keepalive=KeepAlive(0.3, 0.1, SILENCE_S),
        restart=Restart(5, 10.0, 10.0),
    )


class Probe:
    """What the router asks where a client could not reach a server."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, target: str, within_s: float) -> bool:
        self.asked.append(target)
        await self.may_answer.wait()
        return self.answer


class Servers:
    """What the servers of the spec say of themselves when the router asks them; silent ones say nothing."""

    def __init__(self) -> None:
        self.says: dict[str, server_pb2.KeepAliveReply] = {}
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def is_at(self, info: server_pb2.ServerInfo) -> None:
        self.says[info.vm] = server_pb2.KeepAliveReply(accepted=True, epoch=info.epoch, server=info)

    async def __call__(self, endpoint: Endpoint, within_s: float) -> server_pb2.KeepAliveReply | None:
        self.asked.append(endpoint.vm)
        await self.may_answer.wait()
        return self.says.get(endpoint.vm)


class Router:
    """A running router and a stub to it."""

    def __init__(self, stub: Any, probe: Probe, servers: Servers, service: RouterService) -> None:
        self.stub = stub
        self.probe = probe
        self.servers = servers
        self.service = service

    async def register(self, vm: str = "vm2", epoch: int = 1, **more: Any) -> server_pb2.KeepAliveReply:
        """Register as the server itself does: it confirms what it said."""
        fields: dict[str, Any] = {"hostname": "127.0.0.1", "port": 3020} | more
        info = server_pb2.ServerInfo(**fields, vm=vm, epoch=epoch)
        self.servers.is_at(info)
        return await self.say(info)

    async def say(self, info: server_pb2.ServerInfo) -> server_pb2.KeepAliveReply:
        """Say that a server registers, whoever we are."""
        reply: server_pb2.KeepAliveReply = await self.stub.RegisterServer(info, timeout=STEP_S)
        return reply

    async def crash(self, vm: str = "vm2", epoch: int = 1, **more: Any) -> server_pb2.KeepAliveReply:
        fields: dict[str, Any] = {"hostname": "127.0.0.1", "port": 3020} | more
        info = server_pb2.ServerInfo(**fields, vm=vm, epoch=epoch)
        reply: server_pb2.KeepAliveReply = await self.stub.Crash(info, timeout=STEP_S)
        return reply

    async def connect(
        self, wait_ms: int = 0, unreachable: server_pb2.ServerInfo | None = None
    ) -> server_pb2.ServerInfo:
        request = router_pb2.ClientConnect(username="alice", wait_ms=wait_ms, unreachable=unreachable)
        reply: server_pb2.ServerInfo = await self.stub.Connect(request, timeout=STEP_S)
        return reply

    async def states(self) -> dict[str, str]:
        reply = await self.stub.Table(router_pb2.TableRequest(), timeout=STEP_S)
        prefix = len("SERVER_STATE_")
        return {server.vm: server_pb2.ServerState.Name(server.state)[prefix:] for server in reply.servers}


@asynccontextmanager
async def routing(
    selection: Literal["single", "spread"] = "single",
    real_probe: bool = False,
    vm: str = "vm1",
    port: int | None = None,
    routers: tuple[Endpoint, ...] = (),
    servers: tuple[Endpoint, ...] = SPEC,
    asks: Servers | None = None,
) -> AsyncIterator[Router]:
    probe, asks = Probe(), asks or Servers()
    members = Members(servers, routers)
    service = RouterService(config(selection, vm, routers), members, is_serving if real_probe else probe, asks)
    server = make_server(TABLE_MAX_BYTES)
    server.add(router_pb2_grpc.add_RouterServicer_to_server, service)
    target = f"127.0.0.1:{port or free_port()}"
    bind(server, target)
    await server.start()
    tasks = [asyncio.create_task(service.run()), asyncio.create_task(service.exchange())]
    channel = open_channel(target)
    try:
        yield Router(router_pb2_grpc.RouterStub(channel), probe, asks, service)
    finally:
        probe.may_answer.set()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await channel.close()
        await server.stop(None)


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value
