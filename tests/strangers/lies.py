"""Lies to a router, told by somebody who first reads its table, as anybody may."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2
from tests.strangers.attack import Attack

LEAP = 1_000_006
CALL_S = 10.0
_PORT = 6_666  # nobody's
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]

Lie = tuple[str, Any]


async def registrations(attack: Attack) -> None:
    """Register a server of our own with ever higher claims, also in place of a real one, and epochs that leap."""

    def lie(servers: list[server_pb2.ServerInfo], number: int) -> Lie:
        real = servers[number % len(servers)]
        lies = (
            _info("evil", 1, port=_PORT, claim=number + 1),
            _info(real.vm, real.epoch + 1, port=_PORT, claim=number + 1),
            _info(real.vm, real.epoch + LEAP + number, hostname=real.hostname, port=real.port),
            _info(real.vm, 2**61, hostname=real.hostname, port=real.port, claim=2**61),
        )
        return "RegisterServer", lies[number // len(servers) % len(lies)]

    await _tell(attack, lie)


async def machines(attack: Attack) -> None:
    """Register ever new VMs."""

    def lie(servers: list[server_pb2.ServerInfo], number: int) -> Lie:
        return "RegisterServer", _info(f"bogus{number}", 1, port=_PORT + number % 50_000)

    await _tell(attack, lie)


async def crashes(attack: Attack) -> None:
    """Report crashes of the real servers and others, each time from another host."""

    def lie(servers: list[server_pb2.ServerInfo], number: int) -> Lie:
        real = servers[number % len(servers)]
        host = f"h{number}.example.com"
        vm = real.vm if number % 3 else f"bogus{number}"
        return "Crash", _info(vm, real.epoch + number % 2 * LEAP, hostname=host, port=real.port)

    await _tell(attack, lie)


async def exchanges(attack: Attack) -> None:
    """Hand over tables, full of servers at ever new hosts and of real ones whose epochs leap."""

    def lie(servers: list[server_pb2.ServerInfo], number: int) -> Lie:
        leaps = [_info(each.vm, each.epoch + LEAP, hostname=each.hostname, port=each.port) for each in servers]
        bogus = [_info(f"bogus{number}-{each}", 1, hostname=f"h{number}-{each}.example.com") for each in range(50)]
        return "Exchange", router_pb2.TableReply(vm=f"router{number}", servers=[*leaps, *bogus])

    await _tell(attack, lie)


def _info(vm: str, epoch: int, *, hostname: str = "127.0.0.1", port: int = _PORT, claim: int = 0) -> Any:
    return server_pb2.ServerInfo(vm=vm, epoch=epoch, hostname=hostname, port=port, claim=claim)


async def _tell(attack: Attack, lie: Callable[[list[server_pb2.ServerInfo], int], Lie]) -> None:
    async with _stub(attack) as stub:
        servers = list((await stub.Table(router_pb2.TableRequest(), timeout=CALL_S)).servers)

        async def one(number: int) -> None:
            method, request = lie(servers, number)
            try:
                reply = await getattr(stub, method)(request, timeout=CALL_S)
                attack.seen["taken" if getattr(reply, "accepted", True) else "refused"] += 1
            except grpc.aio.AioRpcError as error:
                attack.seen[error.code().name] += 1

        await attack.send(one)


@asynccontextmanager
async def _stub(attack: Attack) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(attack.target, options=_OPTIONS) as channel:
        yield router_pb2_grpc.RouterStub(channel)
