"""What routers tell each other."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from snsnode.base.ids import VmName
from snsnode.node.config import Endpoint
from snsnode.router import table as tables
from snsnode.rpc import router_pb2, server_pb2
from snsnode.transport.status import ERROR_KEY
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.eventually import eventually_async
from tests.ports import free_port
from tests.router_rig import SILENCE_S, STEP_S, Router, refusal, routing

__all__ = ["bounded_in_time", "nothing_left_behind"]


@asynccontextmanager
async def two_routers() -> AsyncIterator[tuple[Router, Router]]:
    endpoints = tuple(Endpoint(VmName(vm), "127.0.0.1", free_port()) for vm in ("vm1", "vm5"))
    first, second = (endpoint.port for endpoint in endpoints)
    async with (
        routing(vm="vm1", port=first, routers=endpoints) as one,
        routing(vm="vm5", port=second, routers=endpoints) as other,
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


async def test_a_router_that_begins_knows_everything_from_another() -> None:
    endpoints = tuple(Endpoint(VmName(vm), "127.0.0.1", free_port()) for vm in ("vm1", "vm5"))
    first, second = (endpoint.port for endpoint in endpoints)
    async with routing(vm="vm1", port=first, routers=endpoints) as one:
        for vm, claim in (("vm2", 1), ("vm3", 4), ("vm4", 0)):
            await one.register(vm, epoch=6, claim=claim)
        await one.crash("vm4", 6)
        async with routing(vm="vm5", port=second, routers=endpoints) as other:
            await eventually_says(other, {"vm2": "STANDBY", "vm3": "AVAILABLE", "vm4": "DOWN"})
            refused = await other.register("vm4", 6)
            assert (refused.accepted, refused.epoch) == (False, 6)


async def test_an_answer_tells_as_much_as_a_call() -> None:
    """The other one cannot reach us: all that it says comes in answers."""
    ports, nowhere = [free_port(), free_port()], free_port()
    it = Endpoint(VmName("vm5"), "127.0.0.1", ports[1])
    we_as_it_sees_us = Endpoint(VmName("vm1"), "127.0.0.1", nowhere)
    async with (
        routing(vm="vm1", port=ports[0], routers=(it,)) as one,
        routing(vm="vm5", port=ports[1], routers=(it, we_as_it_sees_us)) as other,
    ):
        await one.register("vm2", claim=1)
        await other.register("vm3", claim=2)
        for router in (one, other):
            await eventually_says(router, {"vm2": "STANDBY", "vm3": "AVAILABLE"})


async def test_tables_are_taken_from_no_stranger() -> None:
    lie = router_pb2.TableReply(
        vm="vm5", servers=[server_pb2.ServerInfo(vm="vm9", hostname="127.0.0.1", port=1, epoch=1)]
    )
    for routers in ((), (Endpoint(VmName("vm5"), "192.0.2.7", 3010),)):
        async with routing(routers=routers) as router:
            error = await refusal(router.stub.Exchange(lie, timeout=STEP_S))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            assert (error.details() or "").startswith("cannot exchange tables: you are on no machine of")
            assert dict(error.trailing_metadata() or ())[ERROR_KEY] == "denied"
            assert await router.states() == {}


async def test_what_is_no_server_is_left_out_of_what_a_router_tells() -> None:
    async with two_routers() as (one, _):
        wrong: list[dict[str, Any]] = [{"vm": "../x"}, {"port": 0}, {"epoch": 2**62}, {"claim": 2**62}]
        good: dict[str, Any] = {"vm": "vm2", "hostname": "127.0.0.1", "port": 3020, "epoch": 1}
        told = [server_pb2.ServerInfo(**good | fields) for fields in (*wrong, {"vm": "vm3"})]
        await one.stub.Exchange(router_pb2.TableReply(vm="vm5", servers=told), timeout=STEP_S)
        assert set(await one.states()) == {"vm3"}


async def test_a_table_as_large_as_it_may_be_is_exchanged() -> None:
    """Far above the 64 KiB that the requests of others may have."""
    async with two_routers() as (one, other):
        names = [f"a{number:031d}" for number in range(tables.SERVERS_MAX)]
        servers = [
            server_pb2.ServerInfo(vm=name, hostname="h" * 255, port=65535, epoch=2**61, clients=2**31)
            for name in names
        ]
        await one.stub.Exchange(router_pb2.TableReply(vm="vm5", servers=servers), timeout=STEP_S)

        async def knows_all() -> bool:
            return set(await other.states()) == set(names)

        await eventually_async(knows_all, within_s=STEP_S)
        more = [server_pb2.ServerInfo(vm="b", hostname="127.0.0.1", port=1, epoch=1)]
        await one.stub.Exchange(router_pb2.TableReply(vm="vm5", servers=more), timeout=STEP_S)
        assert set(await one.states()) == set(names)
        refused = await one.register("b")
        assert not refused.accepted and "the table is full" in refused.message
