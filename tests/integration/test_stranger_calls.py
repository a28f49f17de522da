"""Strangers who flood a server: whoever is in goes on, newcomers come in, and the log keeps its history."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from snsnode.client import Client, Connected, Event, SyncClient
from snsnode.observe.bounded import Bounded
from snsnode.rpc import health_pb2, health_pb2_grpc, master_pb2_grpc, server_pb2, social_pb2_grpc
from snsnode.social import sessions
from snsnode.social.service import SocialService
from snsnode.transport import handlers
from snsnode.transport.admission import Bound, Bounds
from snsnode.transport.health import Health, is_serving, register
from snsnode.transport.servers import bind, make_server, make_threaded_server
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.client_rig import ListRouter
from tests.eventually import eventually_async
from tests.memory_store import MemoryStore
from tests.ports import free_port
from tests.social_rig import STEP_S, RawClient, code_of, error_of
from tests.strangers.attacking import seen_by_stranger, stranger

__all__ = ["bounded_in_time", "nothing_left_behind"]

pytestmark = pytest.mark.integration

SMALL = Bounds(watch=Bound(20, 20, float("inf")), outside=Bound(50, 50, 10.0))


@asynccontextmanager
async def server(bounds: Bounds | None = None) -> AsyncIterator[str]:
    """Serve the network and health in this process."""
    service, health = SocialService(MemoryStore(), on_fenced=lambda: None), Health()
    target = f"127.0.0.1:{free_port()}"
    serving = make_server(bounds=bounds)
    serving.add(social_pb2_grpc.add_SNSServiceServicer_to_server, service)
    register(health, serving)
    bind(serving, target)
    run = asyncio.create_task(service.run())
    await serving.start()
    health.set(True)
    try:
        yield target
    finally:
        await serving.stop(None)
        run.cancel()
        await asyncio.wait((run,))


class Here:
    """A server in this process, as a router that is a list knows it."""

    def __init__(self, vm: str, target: str) -> None:
        self.vm, self.epoch, self.port = vm, 1, int(target.rpartition(":")[2])

    def info(self) -> server_pb2.ServerInfo:
        return server_pb2.ServerInfo(vm=self.vm, hostname="127.0.0.1", port=self.port, epoch=1)


@asynccontextmanager
async def routed(*targets: str) -> AsyncIterator[str]:
    """Have a router that names the first of ``targets`` to whoever has not found it full."""
    servers: Any = [Here(f"vm{number}", target) for number, target in enumerate(targets, 2)]
    router = ListRouter(servers)
    await router.start()
    try:
        yield router.target
    finally:
        await router.stop()


@contextmanager
def role_log(path: Path) -> Iterator[Path]:
    """Write what a role would."""
    handler = logging.FileHandler(path)
    handler.addFilter(Bounded())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)  # as a role does
    try:
        yield path
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


async def test_open_watches_are_bounded_and_keep_nobody_out() -> None:
    async with server(SMALL) as target, stranger("watches", target, 500):
        assert await is_serving(target, STEP_S)
        async with RawClient(target, "newcomer") as newcomer:
            await newcomer.post("hello")


async def test_newcomers_to_a_server_full_of_strangers_are_served_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 100)
    monkeypatch.setattr(sessions, "LEASE_S", 60.0)
    async with server() as first, server() as second, routed(first, second) as router:  # noqa: SIM117
        async with stranger("names", first, 400):
            refused = await error_of(RawClient(first, "raw").login())
            assert (refused.code(), code_of(refused)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
            seen: list[Event] = []
            async with Client([router], "newcomer", on_event=seen.append) as newcomer:
                await newcomer.post("hello")
                assert [post.text for post in await newcomer.timeline().history()] == ["hello"]
            assert seen[-1] == Connected("127.0.0.1", int(second.rpartition(":")[2]))

            def in_step() -> None:
                with SyncClient([router], "another") as another:
                    another.post("hello")

            await asyncio.to_thread(in_step)


async def test_many_logins_at_once_never_overrun_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 100)
    monkeypatch.setattr(sessions, "LEFT_S", 60.0)
    monkeypatch.setattr(sessions, "LEASE_S", 60.0)
    async with server() as target:
        seen = await seen_by_stranger("passing-names", target, 400)
        assert seen == {"logged in": 100, "RESOURCE_EXHAUSTED": 300}


async def test_calls_whose_message_never_comes_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "MESSAGE_S", 120.0)
    bounds = Bounds(outside=Bound(2_000, 2_000, 120.0))  # more than a stranger begins in MESSAGE_DUE_S
    async with server(bounds) as target, RawClient(target, "alice") as alice:  # noqa: SIM117
        async with stranger("half-calls", target, 4_000):
            await alice.post("hello")

            async def comes_in() -> bool:
                return await is_serving(target, STEP_S)

            await eventually_async(comes_in, within_s=STEP_S)
            async with RawClient(target, "carol") as carol:
                await carol.post("hello")


async def test_a_call_whose_message_never_comes_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "MESSAGE_S", 0.2)
    never = asyncio.Event()

    async def nothing() -> AsyncIterator[bytes]:
        await never.wait()
        yield b""

    async with server() as target, grpc.aio.insecure_channel(target) as channel:
        method: Any = channel.stream_unary("/sns.v1.SNSService/Login")
        call = method(nothing(), timeout=STEP_S)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no message came within" in (caught.value.details() or "")


async def test_messages_that_do_not_parse_are_invalid_and_the_log_keeps_its_history(tmp_path: Path) -> None:
    with role_log(tmp_path / "role.log") as log:
        async with server() as target:
            seen = await seen_by_stranger("rubbish", target, 900)
        assert set(seen) == {"INVALID_ARGUMENT", "UNIMPLEMENTED"}  # a router's methods are not served here
        lines = log.read_text().splitlines()
        assert len(lines) == 5, lines[:10]
        assert all("it does not parse" in line for line in lines)


class _Beats(master_pb2_grpc.MasterServicer):
    def KeepAlive(self, request: object, context: object) -> server_pb2.KeepAliveReply:  # noqa: N802
        raise ZeroDivisionError("the secret")


async def test_messages_that_do_not_parse_are_invalid_on_a_vms_own_socket_too(tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/s"
    local = make_threaded_server(2)
    local.add(master_pb2_grpc.add_MasterServicer_to_server, _Beats())
    bind(local, target)
    local.start()
    try:
        with role_log(tmp_path / "role.log") as log:
            seen = await seen_by_stranger("rubbish", target, 90)
            assert set(seen) == {"INVALID_ARGUMENT", "UNIMPLEMENTED"}
            async with grpc.aio.insecure_channel(target) as channel:
                stub = master_pb2_grpc.MasterStub(channel)
                for _ in range(5):
                    error = await error_of(stub.KeepAlive(server_pb2.KeepAliveRequest(), timeout=STEP_S))
                    assert error.code() is grpc.StatusCode.INTERNAL
                    assert "secret" not in (error.details() or "")
            first, second = log.read_text().splitlines()
            assert "KeepAlive: it does not parse" in first
            assert "ZeroDivisionError: the secret (at test_stranger_calls.py:" in second
    finally:
        local.stop(None).wait(STEP_S)


async def test_a_call_without_a_message_is_invalid() -> None:
    async with server() as target, grpc.aio.insecure_channel(target) as channel:
        call: Any = channel.stream_unary("/sns.v1.SNSService/Login")()
        await call.done_writing()
        assert (await error_of(call)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_health_of_an_unknown_service_is_not_found_and_its_watch_waits_for_it() -> None:
    async with server() as target, grpc.aio.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        error = await error_of(stub.Check(health_pb2.HealthCheckRequest(service="x"), timeout=STEP_S))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="x"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()
