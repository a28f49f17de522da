"""What masters and slaves tell a router: registrations, crashes; and the table that it shows."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from snsnode.rpc import router_pb2, server_pb2
from snsnode.transport.status import ERROR_KEY
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.eventually import eventually_async
from tests.router_rig import SILENCE_S, STEP_S, refusal, routing, spec

__all__ = ["bounded_in_time", "nothing_left_behind"]

ELSEWHERE = spec(vm2=("192.0.2.7", 3020))


async def test_a_registration_is_answered_with_its_lease_and_its_state() -> None:
    async with routing() as router:
        first, second = await router.register("vm2", 4), await router.register("vm3", 1)
        assert (first.accepted, first.epoch, first.lease_ms) == (True, 4, 1000)
        assert first.state == server_pb2.SERVER_STATE_AVAILABLE
        assert second.state == server_pb2.SERVER_STATE_STANDBY


async def test_an_old_epoch_is_refused_and_told_the_known_one() -> None:
    async with routing() as router:
        await router.register(epoch=7)
        refused = await router.register(epoch=6)
        assert (refused.accepted, refused.epoch) == (False, 7)
        assert "epoch 6 of vm2 was replaced" in refused.message


async def test_a_crash_removes_and_promotes() -> None:
    async with routing() as router:
        await router.register("vm2")
        await router.register("vm3")
        assert (await router.crash("vm2")).accepted
        assert (await router.connect()).vm == "vm3"
        assert await router.states() == {"vm2": "DOWN", "vm3": "AVAILABLE"}


async def test_a_router_that_just_began_takes_over_the_choice() -> None:
    async with routing() as router:
        await router.register("vm2")
        reply = await router.register("vm3", claim=4)
        assert reply.state == server_pb2.SERVER_STATE_AVAILABLE
        assert (reply.claim, reply.granted_claim) == (4, 4)
        assert await router.states() == {"vm2": "STANDBY", "vm3": "AVAILABLE"}


async def test_a_late_crash_is_ignored() -> None:
    async with routing() as router:
        await router.register(epoch=2)
        late = await router.crash(epoch=1)
        assert (late.accepted, late.epoch) == (False, 2)
        assert (await router.connect()).epoch == 2


async def test_a_lease_that_runs_out_makes_suspect_and_drops_nobody() -> None:
    async with routing() as router:
        await router.register()
        began_s = time.monotonic()

        async def suspected() -> bool:
            return await router.states() == {"vm2": "SUSPECT"}

        await eventually_async(suspected, within_s=STEP_S)
        assert time.monotonic() - began_s >= SILENCE_S - 0.2
        assert (await router.connect()).state == server_pb2.SERVER_STATE_SUSPECT


async def test_a_crash_that_another_machine_reports_is_a_hint_that_can_raise_doubts_at_most() -> None:
    async with routing(servers=ELSEWHERE) as router:
        await router.register("vm2", hostname="192.0.2.7")
        router.probe.answer = True
        error = await refusal(router.crash("vm2", hostname="192.0.2.7"))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert (error.details() or "").endswith("reported by another machine, and is not confirmed by a probe")
        assert await router.states() == {"vm2": "AVAILABLE"}
        assert router.probe.asked == ["192.0.2.7:3020"]
        router.probe.answer = False
        reply = await router.crash("vm2", hostname="192.0.2.7")
        assert not reply.accepted
        assert reply.message == "reported by another machine: it is silent, and doubted"
        assert await router.states() == {"vm2": "SUSPECT"}


async def test_a_crash_that_its_own_machine_reports_is_not_probed() -> None:
    async with routing(servers=spec(vm2=("localhost", 3020))) as router:
        await router.register("vm2", hostname="localhost")
        assert (await router.crash("vm2", hostname="localhost")).accepted
        assert await router.states() == {"vm2": "DOWN"}
        assert router.probe.asked == []


async def test_a_crash_of_one_that_is_not_known_leaves_nothing() -> None:
    async with routing() as router:
        assert (await router.crash("vm2", 2**61)).accepted
        assert await router.states() == {}
        assert (await router.register("vm2", 1)).accepted


async def test_a_hint_does_not_hit_the_successor() -> None:
    async with routing(servers=ELSEWHERE) as router:
        await router.register("vm2", 1, hostname="192.0.2.7")
        router.probe.may_answer.clear()
        hint = asyncio.ensure_future(router.crash("vm2", 1, hostname="192.0.2.7"))
        await eventually_async(lambda: router.probe.asked, within_s=STEP_S)
        await router.register("vm2", 2, hostname="192.0.2.7")
        assert not (await hint).accepted
        assert await router.states() == {"vm2": "AVAILABLE"}


async def test_another_machine_raises_no_epoch() -> None:
    async with routing(servers=ELSEWHERE) as router:
        await router.register("vm2", 1, hostname="192.0.2.7")
        for epoch in (2, 9, 2**61):
            error = await refusal(router.crash("vm2", epoch, hostname="192.0.2.7"))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert router.probe.asked == []
        assert (await router.register("vm2", 2, hostname="192.0.2.7")).accepted


@pytest.mark.parametrize(
    "wrong",
    [
        {"vm": ""},
        {"vm": "x" * 33},
        {"vm": "vm2\nforged line"},
        {"vm": "../vm2"},
        {"hostname": ""},
        {"hostname": "x" * 256},
        {"hostname": "a host"},
        {"port": 0},
        {"port": 65536},
        {"epoch": 2**62},
        {"epoch": 2**64 - 1},
        {"claim": 2**62},
    ],
)
async def test_wrong_fields_are_refused_in_words(wrong: dict[str, Any]) -> None:
    async with routing() as router:
        fields: dict[str, Any] = {"vm": "vm2", "hostname": "127.0.0.1", "port": 3020, "epoch": 1} | wrong
        info = server_pb2.ServerInfo(**fields)
        for method in (router.stub.RegisterServer, router.stub.Crash):
            error = await refusal(method(info, timeout=STEP_S))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert (error.details() or "").startswith("cannot take ")
            assert "\n" not in (error.details() or "")
            assert dict(error.trailing_metadata() or ())[ERROR_KEY] == "invalid"
        assert await router.states() == {}


async def test_a_claim_beyond_belief_changes_nothing() -> None:
    async with routing() as router:
        await router.register("vm2", claim=5)
        reply = await router.register("vm3", claim=2**61)
        assert (reply.accepted, reply.claim, reply.granted_claim) == (True, 5, 0)
        assert await router.states() == {"vm2": "AVAILABLE", "vm3": "STANDBY"}


async def test_the_table_tells_everything() -> None:
    async with routing() as router:
        await router.register("vm2", 3, leaving=True, clients=5)
        await router.register("vm3")
        reply = await router.stub.Table(router_pb2.TableRequest(), timeout=STEP_S)
        assert (reply.vm, reply.available_vm) == ("vm1", "vm3")
        server = next(server for server in reply.servers if server.vm == "vm2")
        assert (server.epoch, server.leaving, server.clients) == (3, True, 5)
