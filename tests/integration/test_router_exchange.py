"""What routers tell each other."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from snsnode.base.ids import VmName
from snsnode.node.config import Endpoint
from snsnode.rpc import router_pb2, server_pb2
from snsnode.transport.status import ERROR_KEY
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.eventually import eventually_async
from tests.ports import free_port
from tests.router_rig import SILENCE_S, SPEC, STEP_S, Router, Servers, refusal, routing, spec

__all__ = ["bounded_in_time", "nothing_left_behind"]


@asynccontextmanager
async def two_routers(servers: tuple[Endpoint, ...] = SPEC) -> AsyncIterator[tuple[Router, Router]]:
    """Two routers of one spec, and the servers that both can ask."""
    asks = Servers()
    endpoints = tuple(Endpoint(VmName(vm), "127.0.0.1", free_port()) for vm in ("vm1", "vm5"))
    first, second = (endpoint.port for endpoint in endpoints)
    async with (
        routing(vm="vm1", port=first, routers=endpoints, servers=servers, asks=asks) as one,
        routing(vm="vm5", port=second, routers=endpoints, servers=servers, asks=asks) as other,
    ):
        yield one, other


async def eventually_says(router: Router, states: dict[str, str]) -> None:
    async def says() -> bool:
        assert await router.states() == states
        return True

    await eventually_async(says, within_s=STEP_S)


async def test_routers_tell_each_other_of_servers() -> None:
    async with two_routers() as (one, other):
        await one.register("vm2", claim=3)
        await other.register("vm3", claim=7)
        for router in (one, other):
            await eventually_says(router, {"vm2": "STANDBY", "vm3": "AVAILABLE"})
            assert (await router.connect()).vm == "vm3"


async def test_routers_tell_each_other_of_deaths() -> None:
    async with two_routers() as (one, other):
        for router in (one, other):
            await router.register("vm2", claim=2)
            await router.register("vm3", claim=1)
        await one.crash("vm2")
        await eventually_says(other, {"vm2": "DOWN", "vm3": "AVAILABLE"})
        assert not (await other.register("vm2", 1)).accepted
        await other.register("vm2", 2)
        await eventually_says(one, {"vm2": "STANDBY", "vm3": "AVAILABLE"})


async def test_a_server_that_registers_with_one_router_is_not_suspect_at_the_other() -> None:
    async with two_routers() as (one, other):
        await one.register("vm2", claim=1)
        await one.register("vm3")
        await other.register("vm2", claim=1)
        until_s = time.monotonic() + 3 * SILENCE_S
        while time.monotonic() < until_s:
            await one.register("vm2", claim=1)
            await other.register("vm3")
            assert "SUSPECT" not in {**await one.states(), **await other.states()}.values()
            await asyncio.sleep(SILENCE_S / 5)


async def test_a_server_that_registers_nowhere_is_suspect_everywhere() -> None:
    """Routers that told each other what they had from each other would keep its lease alive."""
    async with two_routers() as (one, other):
        await one.register("vm2", claim=1)
        for router in (one, other):
            await eventually_says(router, {"vm2": "SUSPECT"})


async def test_a_router_that_begins_asks_the_servers_that_another_one_knows() -> None:
    endpoints = tuple(Endpoint(VmName(vm), "127.0.0.1", free_port()) for vm in ("vm1", "vm5"))
    first, second = (endpoint.port for endpoint in endpoints)
    asks = Servers()
    async with routing(vm="vm1", port=first, routers=endpoints, asks=asks) as one:
        for vm, claim in (("vm2", 1), ("vm3", 4_000), ("vm4", 0)):
            await one.register(vm, epoch=6_000, claim=claim)
        await one.crash("vm4", 6_000)
        del asks.says["vm4"]
        async with routing(vm="vm5", port=second, routers=endpoints, asks=asks) as other:
            await eventually_says(other, {"vm2": "STANDBY", "vm3": "AVAILABLE"})
            late = await refusal(other.say(info("vm4", 6_000)))  # sent before it crashed, came after
            assert late.code() is grpc.StatusCode.UNAVAILABLE
            await one.register("vm4", 6_001)
            await eventually_says(other, {"vm2": "STANDBY", "vm3": "AVAILABLE", "vm4": "STANDBY"})


async def test_an_epoch_that_one_router_was_made_to_believe_does_not_spread() -> None:
    async with two_routers() as (one, other):
        for router in (one, other):
            await router.register("vm2", 5)
        told = router_pb2.TableReply(vm="vm5", servers=[info("vm2", 1_000_011), info("vm3", 2**61)])
        for _ in range(3):
            await one.stub.Exchange(told, timeout=STEP_S)
            for router in (one, other):
                assert await router.states() == {"vm2": "AVAILABLE"}
                assert (await router.register("vm2", 5)).accepted


async def test_an_answer_tells_as_much_as_a_call() -> None:
    """The other one cannot reach us: all that it says comes in answers."""
    asks, ports, nowhere = Servers(), [free_port(), free_port()], free_port()
    it = Endpoint(VmName("vm5"), "127.0.0.1", ports[1])
    we_as_it_sees_us = Endpoint(VmName("vm1"), "127.0.0.1", nowhere)
    async with (
        routing(vm="vm1", port=ports[0], routers=(it,), asks=asks) as one,
        routing(vm="vm5", port=ports[1], routers=(it, we_as_it_sees_us), asks=asks) as other,
    ):
        await one.register("vm2", claim=1)
        await other.register("vm3", claim=2)
        for router in (one, other):
            await eventually_says(router, {"vm2": "STANDBY", "vm3": "AVAILABLE"})


@pytest.mark.parametrize(
    ("name", "routers"),
    [
        ("vm5", ()),
        ("vm5", (Endpoint(VmName("vm5"), "192.0.2.7", 3010),)),
        ("vm1", (Endpoint(VmName("vm1"), "127.0.0.1", 3010),)),  # its own name
        ("\x1b[2J", (Endpoint(VmName("vm5"), "127.0.0.1", 3010),)),
    ],
)
async def test_tables_are_taken_from_no_stranger(name: str, routers: tuple[Endpoint, ...]) -> None:
    lie = router_pb2.TableReply(vm=name, servers=[info("vm2", 1)])
    async with routing(routers=routers) as router:
        error = await refusal(router.stub.Exchange(lie, timeout=STEP_S))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert (error.details() or "").startswith("cannot exchange tables: you are on no machine of")
        assert dict(error.trailing_metadata() or ())[ERROR_KEY] == "denied"
        assert await router.states() == {}
        assert router.servers.asked == []


async def test_what_is_no_server_is_left_out_of_what_a_router_tells() -> None:
    async with two_routers() as (one, _):
        wrong: list[dict[str, Any]] = [
            *({"vm": "../x"}, {"port": 0}, {"epoch": 2**62}, {"claim": 2**62}),
            *({"vm": "vm99"}, {"port": 3021}, {"hostname": "127.0.0.2"}),
        ]
        for vm in ("vm2", "vm3", "vm4"):
            one.servers.is_at(info(vm, 1))
        good: dict[str, Any] = {"vm": "vm2", "epoch": 1}
        told = [info(**good | fields) for fields in (*wrong, {"vm": "vm3"})]
        await one.stub.Exchange(router_pb2.TableReply(vm="vm5", servers=told), timeout=STEP_S)
        await eventually_says(one, {"vm3": "AVAILABLE"})


async def test_a_table_as_large_as_a_spec_may_be_is_exchanged() -> None:
    """Far above the 64 KiB that the requests of others may have."""
    names = [f"a{number:031d}" for number in range(1_000)]
    host = ".".join(("h" * 62,) * 4)
    servers = spec(**dict.fromkeys(names, (host, 65535)))
    async with two_routers(servers) as (one, other):
        told = [info(name, 2**61, hostname=host, port=65535, clients=2**31) for name in names]
        for each in told:
            one.servers.is_at(each)
        await one.stub.Exchange(router_pb2.TableReply(vm="vm5", servers=told), timeout=STEP_S)

        async def all_know_all() -> bool:
            return set(await one.states()) == set(await other.states()) == set(names)

        await eventually_async(all_know_all, within_s=STEP_S)
        more = router_pb2.TableReply(vm="vm5", servers=[info("vm2", 1)] * 5_000)
        await one.stub.Exchange(more, timeout=STEP_S)
        assert set(await one.states()) == set(names)


def info(vm: str, epoch: int, **more: Any) -> server_pb2.ServerInfo:
    place: dict[str, Any] = {"hostname": "127.0.0.1", "port": 3020}
    return server_pb2.ServerInfo(**place | more, vm=vm, epoch=epoch)
