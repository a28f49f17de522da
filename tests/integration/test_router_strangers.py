"""Somebody who is of no machine of the spec tells a router lies: no table changes, and nothing of it is kept."""

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from snsnode.base.ids import VmName
from snsnode.node.cluster import ENDPOINTS_MAX
from snsnode.node.config import Endpoint
from snsnode.router import belief
from snsnode.router.asking import who_is
from snsnode.router.spec import Members
from snsnode.router.wire import told_of
from snsnode.rpc import master_pb2_grpc, router_pb2, server_pb2
from snsnode.transport.handlers import REQUEST_MAX_BYTES
from snsnode.transport.servers import bind, make_server
from snsnode.transport.status import ERROR_KEY
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.eventually import eventually_async
from tests.ports import free_port
from tests.router_rig import SPEC, STEP_S, Router, Servers, refusal, routing, spec

__all__ = ["bounded_in_time", "nothing_left_behind"]

ELSEWHERE = spec(vm2=("192.0.2.7", 3020), vm3=("192.0.2.8", 3020))  # we are of none of these machines


def info(vm: str = "vm2", epoch: int = 1, **more: Any) -> server_pb2.ServerInfo:
    place: dict[str, Any] = {"hostname": "127.0.0.1", "port": 3020}
    return server_pb2.ServerInfo(**place | more, vm=vm, epoch=epoch)


async def denied(router: Router, lie: server_pb2.ServerInfo) -> str:
    error = await refusal(router.say(lie))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert dict(error.trailing_metadata() or ())[ERROR_KEY] == "denied"
    return error.details() or ""


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"vm": "evil"}, "the spec that this router knows has no such server"),
        ({"port": 6666}, "the spec that this router knows has it at 127.0.0.1:3020"),
        ({"hostname": "192.0.2.66"}, "the spec that this router knows has it at 127.0.0.1:3020"),
    ],
)
async def test_a_server_that_the_spec_lacks_gets_no_client(wrong: dict[str, Any], cause: str) -> None:
    async with routing() as router:
        await router.register("vm2", claim=1)
        asked = list(router.servers.asked)
        for claim in (0, 2):
            message = await denied(router, info(**{"epoch": 1, "claim": claim} | wrong))
            assert cause in message and "run 'snsctl generate' for vm1 too" in message
        for epoch in (1, 2):
            error = await refusal(router.crash(**{"vm": "vm2", "epoch": epoch} | wrong))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        given = await router.connect()
        assert (given.vm, given.port) == ("vm2", 3020)
        assert await router.states() == {"vm2": "AVAILABLE"}
        assert router.servers.asked == asked


async def test_an_epoch_far_above_the_known_one_locks_the_real_server_out_of_nothing() -> None:
    async with routing() as router:
        await router.register("vm2", 7)
        for epoch in (1_000_013, 2**61):
            assert f"it answers with epoch {7}" in await denied(router, info(epoch=epoch))
        assert (await router.register("vm2", 7)).accepted
        assert (await router.connect()).epoch == 7


async def test_an_epoch_of_a_server_that_is_not_known_counts_only_as_it_says_itself() -> None:
    async with routing() as router:
        error = await refusal(router.say(info(epoch=2**61)))  # the real one is down
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert await router.states() == {}
        router.servers.is_at(info(epoch=3))
        await denied(router, info(epoch=2**61))
        assert await router.states() == {}
        assert (await router.register("vm2", 3)).accepted


async def test_a_server_with_an_honest_leap_registers() -> None:
    """It restarted thousands of times while the router could not hear it."""
    async with routing() as router:
        await router.register("vm2", 7, claim=1)
        assert (await router.register("vm2", 70_000, claim=50_000)).granted_claim == 50_000
        assert (await router.connect()).epoch == 70_000


async def test_a_word_from_another_machine_counts_as_the_server_itself_says() -> None:
    """A host with several addresses calls from another one than the spec's; so may whoever lies."""
    async with routing(servers=ELSEWHERE) as router:
        for vm, host in (("vm2", "192.0.2.7"), ("vm3", "192.0.2.8")):
            assert (await router.register(vm, 5, hostname=host)).accepted
        asked = len(router.servers.asked)
        lie = info("vm3", 5, hostname="192.0.2.8", claim=900, clients=9, leaving=True)
        reply = await router.say(lie)
        assert reply.accepted and len(router.servers.asked) == asked + 1
        assert (await router.connect()).vm == "vm2"
        assert await router.states() == {"vm2": "AVAILABLE", "vm3": "STANDBY"}
        await denied(router, info("vm2", 6, hostname="192.0.2.7"))
        assert (await router.register("vm2", 5, hostname="192.0.2.7")).accepted
        # And what it does say counts: it is drained.
        await router.register("vm2", 5, hostname="192.0.2.7", leaving=True)
        assert (await router.connect()).vm == "vm3"


async def test_words_from_elsewhere_about_servers_that_are_down_leave_room_for_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(belief, "HINTS_MAX", 3)
    async with routing(servers=ELSEWHERE) as router:
        router.servers.may_answer.clear()
        lie = info("vm2", 1, hostname="192.0.2.7")
        waiting = [asyncio.create_task(refusal(router.say(lie)), name=f"lie-{number}") for number in range(3)]
        await eventually_async(lambda: router.servers.asked == ["vm2"], STEP_S)

        async def is_full() -> bool:
            return "wait already" in ((await refusal(router.say(lie))).details() or "")

        await eventually_async(is_full, STEP_S)
        assert not any(task.done() for task in waiting)
        router.servers.may_answer.set()
        assert all("does not answer" in (error.details() or "") for error in await asyncio.gather(*waiting))
        assert not await is_full()


async def test_of_an_older_server_elsewhere_only_its_epoch_counts() -> None:
    """It does not say what it registers with; its own machine's word counts where it comes from there."""
    old = server_pb2.KeepAliveReply(accepted=True, epoch=5)
    async with routing(servers=ELSEWHERE) as router:
        router.servers.says = {"vm2": old, "vm3": old}
        for vm, host in (("vm2", "192.0.2.7"), ("vm3", "192.0.2.8")):
            assert (await router.say(info(vm, 5, hostname=host, claim=900, leaving=vm == "vm2"))).accepted
        assert await router.states() == {"vm2": "AVAILABLE", "vm3": "STANDBY"}
    async with routing() as router:
        router.servers.says = {"vm2": old, "vm3": old}
        await router.say(info("vm2", 5, claim=5_000))
        assert (await router.say(info("vm3", 5, claim=6_000))).granted_claim == 6_000
        assert await router.states() == {"vm2": "STANDBY", "vm3": "AVAILABLE"}


async def test_thousands_of_names_leave_no_thread_no_entry_and_a_line_for_each_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with routing() as router:
        await router.register("vm2")
        threads, lines = threading.active_count(), len(caplog.records)
        for batch in range(20):
            lies = [info(f"v{batch}-{number}", hostname=f"h{batch}-{number}.example") for number in range(50)]
            said: list[Any] = [router.stub.RegisterServer(lie, timeout=STEP_S) for lie in lies]
            said += [router.stub.Crash(lie, timeout=STEP_S) for lie in lies]
            said += [router.say(info("vm2", 0)) for _ in range(50)]
            answers = await asyncio.gather(*said, return_exceptions=True)
            await router.register("vm2")
            errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
            assert {error.code() for error in errors} == {grpc.StatusCode.PERMISSION_DENIED}
            assert len(errors) == 100
            assert threading.active_count() <= threads + 2  # gRPC's own
        assert await router.states() == {"vm2": "AVAILABLE"}
        assert (await router.register("vm3")).accepted  # there is room
        assert sum(router.service.refusals.values()) == 3_000
        assert len([record for record in caplog.records[lines:] if "refused" in record.message]) == 2


async def test_many_lies_make_few_questions() -> None:
    async with routing() as router:
        await router.register("vm2", 7)
        before = len(router.servers.asked)
        await asyncio.gather(*(denied(router, info(epoch=2**61 + number)) for number in range(300)))
        assert len(router.servers.asked) - before <= 20
        assert (await router.register("vm2", 7)).accepted


async def test_who_left_the_spec_is_gone_and_who_came_can_register() -> None:
    async with routing() as router:
        await router.register("vm2", claim=1)
        await router.register("vm3")
        router.service.update(Members((*SPEC[1:], Endpoint(VmName("vm5"), "127.0.0.1", 3050)), ()))
        assert await router.states() == {"vm3": "AVAILABLE"}
        assert "has no such server" in await denied(router, info("vm2"))
        assert (await router.register("vm5", port=3050)).accepted


async def _spec_loses_vm2(router: Router, call: Awaitable[Any]) -> Any:
    """Make ``call``, and take vm2 out of the spec while the router asks the server; return what it raised."""
    router.probe.may_answer.clear()
    router.servers.may_answer.clear()
    asked = len(router.probe.asked) + len(router.servers.asked)
    calling = asyncio.ensure_future(call)
    await eventually_async(lambda: len(router.probe.asked) + len(router.servers.asked) > asked, within_s=STEP_S)
    router.service.update(Members(SPEC[1:], ()))
    router.probe.may_answer.set()
    router.servers.may_answer.set()
    return (await asyncio.gather(calling, return_exceptions=True))[0]


async def test_a_server_that_leaves_the_spec_while_it_is_asked_or_probed_is_an_error_to_nobody() -> None:
    """A client's report, a new server, an epoch that leaps, and a crash that another machine reports."""
    async with routing() as router:
        await router.register("vm2")
        await router.register("vm3")
        given = await router.connect()
        answer = await _spec_loses_vm2(router, router.connect(unreachable=given))
        assert answer.vm == "vm3"
    async with routing() as router:
        router.servers.is_at(info("vm2"))
        answer = await _spec_loses_vm2(router, router.say(info("vm2")))
        assert answer.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await router.states() == {}
    async with routing() as router:
        await router.register("vm2", 1)
        router.servers.is_at(info("vm2", 5_000))
        answer = await _spec_loses_vm2(router, router.say(info("vm2", 5_000)))
        assert answer.code() is grpc.StatusCode.PERMISSION_DENIED
    async with routing(servers=ELSEWHERE) as router:
        await router.register("vm2", 5, hostname="192.0.2.7")
        answer = await _spec_loses_vm2(router, router.crash("vm2", 5, hostname="192.0.2.7"))
        assert not answer.accepted
        assert await router.states() == {}


class _Keeper(master_pb2_grpc.MasterServicer):
    """Answers as the master of one VM."""

    def __init__(self, vm: str) -> None:
        self.vm = vm

    async def KeepAlive(self, request: Any, context: Any) -> server_pb2.KeepAliveReply:  # noqa: N802
        if request.vm != self.vm:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is another VM")
        return server_pb2.KeepAliveReply(accepted=True, epoch=4)


@asynccontextmanager
async def master(vm: str) -> AsyncIterator[Endpoint]:
    server, port = make_server(), free_port()
    server.add(master_pb2_grpc.add_MasterServicer_to_server, _Keeper(vm))
    bind(server, f"127.0.0.1:{port}")
    await server.start()
    try:
        yield Endpoint(VmName(vm), "127.0.0.1", port)
    finally:
        await server.stop(None)


async def test_the_real_question_tells_a_server_from_another_and_from_none() -> None:
    async with master("vm2") as place:
        reply = await who_is(place, STEP_S)
        assert reply is not None and reply.epoch == 4
        assert await who_is(Endpoint(VmName("vm3"), place.address, place.port), STEP_S) is None
    assert await who_is(place, STEP_S) is None


async def test_a_crash_that_is_reported_while_a_server_is_asked_counts() -> None:
    may_answer, asked = asyncio.Event(), asyncio.Event()

    class Slow(Servers):
        async def __call__(self, endpoint: Endpoint, within_s: float) -> server_pb2.KeepAliveReply | None:
            asked.set()
            await may_answer.wait()
            return await super().__call__(endpoint, within_s)

    async with routing(asks=Slow()) as router:
        registering = asyncio.ensure_future(router.register("vm2", 5))
        await eventually_async(asked.wait, within_s=STEP_S)
        await router.crash("vm2", 5)
        may_answer.set()
        assert (await refusal(registering)).code() is grpc.StatusCode.UNAVAILABLE
        assert await router.states() == {}
        assert (await router.register("vm2", 6)).accepted


async def test_a_name_is_looked_up_in_the_spelling_of_the_spec_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each of its spellings takes an entry, and a thread while the resolver is silent."""
    asked: list[str] = []

    def look_up(name: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    async with routing(servers=spec(vm2=("vm2.example", 3020))) as router:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        for name in ("VM2.example", "vm2.EXAMPLE", "Vm2.Example.", "vm2.example...", "vm2.example"):
            assert (await router.register(hostname=name)).accepted
            await router.crash(hostname=name, epoch=0)
        assert asked == ["vm2.example"]


async def test_a_request_that_nests_a_million_messages_is_not_parsed() -> None:
    """Of 2 MiB they become a hundred; a table of another router is the only request that may be so large."""
    async with routing() as router:
        many = [server_pb2.ServerInfo()] * REQUEST_MAX_BYTES
        error = await refusal(router.stub.Connect(router_pb2.ClientConnect(full=many), timeout=STEP_S))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"at most {REQUEST_MAX_BYTES} are taken" in (error.details() or "")
        error = await refusal(router.stub.Exchange(router_pb2.TableReply(servers=many), timeout=STEP_S))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED


def test_of_a_table_no_more_is_taken_than_a_spec_can_have() -> None:
    entry = server_pb2.ServerInfo(vm="vm2", hostname="127.0.0.1", port=3020)
    assert len(told_of(router_pb2.TableReply(servers=[entry] * (ENDPOINTS_MAX + 10)), 0.0)) == ENDPOINTS_MAX
