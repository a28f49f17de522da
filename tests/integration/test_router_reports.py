"""A server that a client could not reach: the router probes it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from snsnode.rpc import server_pb2
from snsnode.transport.health import Health, register
from snsnode.transport.servers import bind, make_server
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.eventually import eventually_async
from tests.ports import free_port
from tests.router_rig import STEP_S, routing, spec

__all__ = ["bounded_in_time", "nothing_left_behind"]


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Serve health, and nothing else; yields the port."""
    server, health, port = make_server(), Health(), free_port()
    register(health, server)
    bind(server, f"127.0.0.1:{port}")
    await server.start()
    health.set(True)
    try:
        yield port
    finally:
        await server.stop(None)


async def test_a_report_that_the_probe_confirms_moves_on() -> None:
    async with routing(servers=spec(vm2=("127.0.0.1", 3020), vm3=("127.0.0.1", 3030))) as router:
        await router.register("vm2")
        await router.register("vm3", port=3030)
        given = await router.connect()
        assert (await router.connect(unreachable=given)).vm == "vm3"
        assert router.probe.asked == ["127.0.0.1:3020"]
        assert await router.states() == {"vm2": "SUSPECT", "vm3": "AVAILABLE"}


async def test_a_report_that_the_probe_contradicts_changes_nothing() -> None:
    async with routing() as router:
        router.probe.answer = True
        await router.register("vm2")
        await router.register("vm3")
        given = await router.connect()
        assert (await router.connect(unreachable=given)).vm == "vm2"
        assert await router.states() == {"vm2": "AVAILABLE", "vm3": "STANDBY"}


async def test_a_server_that_registers_while_it_is_probed_is_slow_and_not_doubted() -> None:
    async with routing() as router:
        await router.register("vm2")
        await router.register("vm3")
        given = await router.connect()
        router.probe.may_answer.clear()
        report = asyncio.ensure_future(router.connect(unreachable=given))
        await eventually_async(lambda: router.probe.asked, within_s=STEP_S)
        await router.register("vm2")
        router.probe.may_answer.set()
        assert (await report).vm == "vm2"
        assert await router.states() == {"vm2": "AVAILABLE", "vm3": "STANDBY"}
        assert (await router.connect(unreachable=given)).vm == "vm3"  # and silent from then on


async def test_the_last_server_is_offered_although_nobody_reaches_it() -> None:
    async with routing() as router:
        await router.register("vm2")
        given = await router.connect()
        began_s = time.monotonic()
        again = await router.connect(wait_ms=300, unreachable=given)
        assert (again.vm, again.state) == ("vm2", server_pb2.SERVER_STATE_SUSPECT)
        assert time.monotonic() - began_s >= 0.3  # it may come back, or another one


async def test_one_who_reported_the_last_server_gets_its_successor_at_once() -> None:
    async with routing() as router:
        await router.register("vm2")
        given = await router.connect()
        waiting = asyncio.ensure_future(router.connect(wait_ms=2000, unreachable=given))

        async def suspected() -> bool:
            return await router.states() == {"vm2": "SUSPECT"}

        await eventually_async(suspected, within_s=STEP_S)
        began_s = time.monotonic()
        await router.register("vm2", 2)
        assert (await waiting).epoch == 2
        assert time.monotonic() - began_s < 1.8


@pytest.mark.parametrize("wrong", [{"vm": "vm9"}, {"epoch": 9}, {}])
async def test_reports_of_others_are_nothing(wrong: dict[str, Any]) -> None:
    async with routing() as router:
        await router.register("vm2")
        fields: dict[str, Any] = {"vm": "vm2", "epoch": 1} | wrong if wrong else {}
        assert (await router.connect(unreachable=server_pb2.ServerInfo(**fields))).vm == "vm2"
        assert router.probe.asked == []


async def test_many_reports_make_one_probe() -> None:
    async with routing() as router:
        await router.register("vm2")
        await router.register("vm3")
        given = await router.connect()
        router.probe.may_answer.clear()
        reports = [asyncio.ensure_future(router.connect(unreachable=given)) for _ in range(30)]
        await eventually_async(lambda: router.probe.asked, within_s=STEP_S)
        assert await router.states() == {"vm2": "AVAILABLE", "vm3": "STANDBY"}
        router.probe.may_answer.set()
        assert {info.vm for info in await asyncio.gather(*reports)} == {"vm3"}
        # Those that came while one was under way share it. On a busy machine a few come later than its answer.
        assert len(router.probe.asked) <= len(reports) // 5


async def test_a_client_that_gives_up_takes_no_others_probe_with_it() -> None:
    async with routing() as router:
        await router.register("vm2")
        await router.register("vm3")
        given = await router.connect()
        router.probe.may_answer.clear()
        reports = [asyncio.ensure_future(router.connect(unreachable=given)) for _ in range(2)]
        await eventually_async(lambda: router.probe.asked, within_s=STEP_S)
        reports[0].cancel()
        await asyncio.wait(reports[:1])
        router.probe.may_answer.set()
        assert (await reports[1]).vm == "vm3"


async def test_the_real_probe_tells_the_living_from_the_dead() -> None:
    nobody = free_port()
    async with (
        serving() as port,
        routing(real_probe=True, servers=spec(vm2=("127.0.0.1", nobody), vm3=("127.0.0.1", port))) as router,
    ):
        await router.register("vm2", port=nobody)
        await router.register("vm3", port=port)
        given = await router.connect()
        moved = await router.connect(unreachable=given)
        assert moved.vm == "vm3"
        assert (await router.connect(unreachable=moved)).vm == "vm3"
        assert await router.states() == {"vm2": "SUSPECT", "vm3": "AVAILABLE"}
