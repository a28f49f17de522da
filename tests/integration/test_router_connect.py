"""Which server a router gives to a client: at once, after a wait, and spread over all."""

import asyncio
import time

import grpc
import pytest

from snsnode.router import service as services
from snsnode.rpc import server_pb2
from snsnode.transport.status import ERROR_KEY
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.router_rig import refusal, routing, spec

__all__ = ["bounded_in_time", "nothing_left_behind"]


async def test_without_a_server_a_client_is_told_so() -> None:
    async with routing() as router:
        error = await refusal(router.connect())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.details() == "cannot connect: no server is registered; try again"
        assert dict(error.trailing_metadata() or ())[ERROR_KEY] == "unavailable"


async def test_a_client_gets_the_available_server() -> None:
    async with routing(servers=spec(vm2=("127.0.0.1", 3021))) as router:
        await router.register("vm2", 3, port=3021, clients=4)
        info = await router.connect()
        assert (info.vm, info.hostname, info.port, info.epoch) == ("vm2", "127.0.0.1", 3021, 3)
        assert info.state == server_pb2.SERVER_STATE_AVAILABLE


async def test_a_client_that_waits_is_answered_as_soon_as_one_registers() -> None:
    async with routing() as router:
        waiting = [asyncio.ensure_future(router.connect(wait_ms=2000)) for _ in range(20)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting[0]), 0.1)
        began_s = time.monotonic()
        await router.register("vm2")
        assert {info.vm for info in await asyncio.gather(*waiting)} == {"vm2"}
        assert time.monotonic() - began_s < 1.8


async def test_a_client_that_waits_in_vain_is_told_in_time() -> None:
    async with routing() as router:
        began_s = time.monotonic()
        error = await refusal(router.connect(wait_ms=200))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert 0.2 <= time.monotonic() - began_s < 10.0


async def test_a_wait_is_bounded_by_the_router() -> None:
    async with routing() as router:
        began_s = time.monotonic()
        error = await refusal(router.connect(wait_ms=2**32 - 1))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert 1.9 <= time.monotonic() - began_s < 10.0


async def test_spread_gives_each_client_the_emptiest() -> None:
    async with routing("spread") as router:
        await router.register("vm2", clients=2)
        await router.register("vm3", clients=1)
        assert (await router.connect()).vm == "vm3"
        await router.register("vm3", clients=3)
        assert (await router.connect()).vm == "vm2"
        assert await router.states() == {"vm2": "AVAILABLE", "vm3": "AVAILABLE"}


async def test_spread_divides_clients_that_come_at_once() -> None:
    async with routing("spread") as router:
        await router.register("vm2")
        await router.register("vm3")
        given = await asyncio.gather(*(router.connect() for _ in range(20)))
        assert [sum(info.vm == vm for info in given) for vm in ("vm2", "vm3")] == [10, 10]


async def test_spread_divides_clients_that_waited() -> None:
    async with routing("spread") as router:
        await router.register("vm2", clients=10)
        await router.register("vm3", clients=10)
        given = await asyncio.gather(*(router.connect(wait_ms=500) for _ in range(10)))
        assert [sum(info.vm == vm for info in given) for vm in ("vm2", "vm3")] == [5, 5]


async def test_who_cannot_wait_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "WAITING_MAX", 3)
    async with routing() as router:
        waiting = [asyncio.ensure_future(router.connect(wait_ms=2000)) for _ in range(3)]
        await asyncio.wait(waiting, timeout=0.2)
        error = await refusal(router.connect(wait_ms=2000))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.details() == "cannot connect: 3 clients wait already; try again in a moment"
        await router.register("vm2")
        assert {info.vm for info in await asyncio.gather(*waiting)} == {"vm2"}
        assert (await router.connect(wait_ms=2000)).vm == "vm2"
