"""What tests of the client stand on: servers that can be killed and stopped, and a router that is a list."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from snsnode.base.errors import DeadlineExceeded, SnsError, Unavailable
from snsnode.router.probe import answers
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2, social_pb2, social_pb2_grpc
from snsnode.transport.channels import call, open_channel
from snsnode.transport.servers import bind, make_server
from tests.ports import free_port

PROBE_S = 0.3


class ServerProcess:
    """A social server in a process of its own, over the SQLite file ``store``."""

    def __init__(self, store: Path, vm: str) -> None:
        self.store = store
        self.vm = vm
        self.port = free_port()
        self.epoch = 0
        self.process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "tests.social_server", str(self.store), str(self.port)]
        self.process = await asyncio.to_thread(self._launch, command)
        self.epoch += 1  # now a router may name it

    def _launch(self, command: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        return process

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(5)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def info(self) -> server_pb2.ServerInfo:
        return server_pb2.ServerInfo(vm=self.vm, hostname="127.0.0.1", port=self.port, epoch=self.epoch)


class ListRouter(router_pb2_grpc.RouterServicer):
    """Answers the first of ``servers`` that is not known to be dead, and probes what a client reports."""

    def __init__(self, servers: list[ServerProcess]) -> None:
        self.servers = servers
        self.asked: list[router_pb2.ClientConnect] = []
        self.dead: set[tuple[str, int]] = set()
        self.port = free_port()
        self._server: Any = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = make_server()
        self._server.add(router_pb2_grpc.add_RouterServicer_to_server, self)
        bind(self._server, self.target)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def Connect(self, request: Any, context: Any) -> server_pb2.ServerInfo:  # noqa: N802
        self.asked.append(request)
        if request.HasField("unreachable"):
            await self._probe(request.unreachable)
        until = asyncio.get_running_loop().time() + request.wait_ms / 1000
        while True:
            full = [server.vm for server in request.full]
            for server in sorted(self.servers, key=lambda server: server.vm in full):
                if server.epoch and (server.vm, server.epoch) not in self.dead:
                    return server.info()
            if asyncio.get_running_loop().time() >= until:
                raise Unavailable("cannot name a server: none is registered")
            await asyncio.sleep(0.01)

    async def _probe(self, info: server_pb2.ServerInfo) -> None:
        if not await answers(f"{info.hostname}:{info.port}", PROBE_S, _lives):
            self.dead.add((info.vm, info.epoch))

    async def RegisterServer(self, request: Any, context: Any) -> server_pb2.KeepAliveReply:  # noqa: N802
        raise NotImplementedError

    async def Crash(self, request: Any, context: Any) -> server_pb2.KeepAliveReply:  # noqa: N802
        raise NotImplementedError

    async def Exchange(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def Table(self, request: Any, context: Any) -> router_pb2.TableReply:  # noqa: N802
        raise NotImplementedError


class Cluster:
    """Servers over one store, and routers that name the first living one."""

    def __init__(self, servers: list[ServerProcess], routers: list[ListRouter]) -> None:
        self.servers = servers
        self.routers = routers

    @property
    def targets(self) -> list[str]:
        return [router.target for router in self.routers]


@asynccontextmanager
async def running(home: Path, servers: int = 2, routers: int = 1) -> AsyncIterator[Cluster]:
    """Run a cluster; afterwards no process and no port of it is left."""
    processes = [ServerProcess(home / "sns.db", f"vm{i + 1}") for i in range(servers)]
    lists = [ListRouter(processes) for _ in range(routers)]
    try:
        for process in processes:
            await process.start()
        for router in lists:
            await router.start()
        yield Cluster(processes, lists)
    finally:
        for router in lists:
            await router.stop()
        for process in processes:
            process.kill()


async def _lives(target: str, within_s: float) -> bool:
    """Tell whether a server answers anything, a refusal included."""
    channel = open_channel(target)
    try:
        stub: Any = social_pb2_grpc.SNSServiceStub(channel)
        await call(stub.List, social_pb2.ListRequest(), within_s)
    except (Unavailable, DeadlineExceeded):
        return False
    except SnsError:
        return True
    finally:
        await channel.close()
    return True
