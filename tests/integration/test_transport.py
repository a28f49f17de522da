"""Channels and servers: deadlines, pings, the error table, the exclusive bind."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from snsnode.base import errors
from snsnode.base.errors import DeadlineExceeded, Held, SnsError, Unavailable
from snsnode.rpc import health_pb2, health_pb2_grpc
from snsnode.transport.channels import CHANNEL_OPTIONS, call, open_channel, replies
from snsnode.transport.health import Health, is_serving, register
from snsnode.transport.servers import SERVER_OPTIONS, bind, make_server, make_threaded_server
from snsnode.transport.status import error_of, status_of
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.eventually import eventually_async
from tests.ports import free_port

__all__ = ["bounded_in_time", "nothing_left_behind"]

STEP_S = 10.0
REQUEST = health_pb2.HealthCheckRequest()
REFUSED_AND_PASSING = [
    errors.Refused,
    errors.InvalidInput,
    errors.NotFound,
    errors.AlreadyDone,
    errors.NotAllowed,
    errors.Unavailable,
    errors.Full,
    errors.SessionLost,
    errors.Fenced,
    errors.Exhausted,
    errors.DeadlineExceeded,
    errors.StoreFailed,
]


class Failing(Health):
    """Raises what it is told to, before or in the middle of an answer."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802
        raise self._error

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:  # noqa: N802
        yield health_pb2.HealthCheckResponse()
        raise self._error


@asynccontextmanager
async def connected(service: Health) -> AsyncIterator[tuple[grpc.aio.Channel, Any]]:
    """Serve in this process; yields a channel and a stub."""
    server, target = make_server(), f"127.0.0.1:{free_port()}"
    register(service, server)
    bind(server, target)
    await server.start()
    channel = open_channel(target)
    try:
        yield channel, health_pb2_grpc.HealthStub(channel)
    finally:
        await channel.close()
        await server.stop(None)


@contextmanager
def server_process() -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Serve in another process; yields it and its target."""
    target = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen([sys.executable, "-m", "tests.health_server", target], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process, target
    finally:
        process.kill()
        process.communicate(timeout=STEP_S)


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REFUSED_AND_PASSING)
async def test_errors_come_back_as_the_very_class_with_their_words(kind: type[SnsError]) -> None:
    words = "cannot do 'thïs': line one\nline two, 100 %"
    async with connected(Failing(kind(words))) as (_, stub):
        with pytest.raises(SnsError) as raised:
            await call(stub.Check, REQUEST, STEP_S)
        assert (type(raised.value), raised.value.message) == (kind, words)
        stream = replies(stub.Watch(REQUEST))
        await anext(stream)
        with pytest.raises(SnsError) as raised:
            await anext(stream)
        assert (type(raised.value), raised.value.message) == (kind, words)


@pytest.mark.parametrize("kind", REFUSED_AND_PASSING)
def test_every_code_has_one_error(kind: type[SnsError]) -> None:
    assert type(error_of(kind.code, "x")) is kind
    assert isinstance(status_of(kind("x")), grpc.StatusCode)


def test_what_has_no_status_of_its_own_is_internal() -> None:
    assert status_of(errors.ConfigError("x")) is grpc.StatusCode.INTERNAL
    assert type(error_of("a code of a later version", "x")) is SnsError


async def test_an_unexpected_exception_is_logged_and_tells_a_client_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(Failing(ZeroDivisionError("the secret"))) as (_, stub):
        for method in (stub.Check, stub.Watch):
            caplog.clear()
            rpc = method(REQUEST, timeout=STEP_S)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                if method is stub.Check:
                    await rpc
                else:
                    async for _ in rpc:
                        pass
            assert raised.value.code() is grpc.StatusCode.INTERNAL
            details = raised.value.details() or ""
            assert details.endswith("internal error, see the server's log")
            assert "secret" not in details + str(raised.value.trailing_metadata())
            assert "Traceback" not in details
            (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert "ZeroDivisionError: the secret (at test_transport.py:" in record.getMessage()
            assert record.exc_info is None  # one line, however often a stranger provokes it


async def test_a_call_to_nobody_is_unavailable() -> None:
    channel = open_channel(f"127.0.0.1:{free_port()}")
    stub: Any = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(Unavailable):
        await call(stub.Check, REQUEST, STEP_S)
    await channel.close()


# --- closed channels and cancellation ----------------------------------------------------------------------


async def test_a_channel_closed_under_a_call_is_unavailable_and_no_cancellation() -> None:
    waiting = asyncio.Event()

    class Slow(Health):
        async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802
            waiting.set()
            await asyncio.Event().wait()
            raise AssertionError

    async with connected(Slow()) as (channel, stub):
        running = asyncio.create_task(call(stub.Check, REQUEST, STEP_S))
        await asyncio.wait_for(waiting.wait(), STEP_S)
        await channel.close()
        with pytest.raises(Unavailable):
            await running


async def test_a_channel_closed_under_a_stream_is_unavailable() -> None:
    async with connected(Health()) as (channel, stub):
        stream = replies(stub.Watch(REQUEST))
        await anext(stream)
        running = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await channel.close()
        with pytest.raises(Unavailable):
            await running


async def test_a_call_on_a_closed_channel_is_unavailable() -> None:
    async with connected(Health()) as (channel, stub):
        await channel.close()
        with pytest.raises(Unavailable):
            await call(stub.Check, REQUEST, STEP_S)


async def test_our_own_cancellation_stays_one() -> None:
    started = asyncio.Event()

    class Slow(Health):
        async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802
            started.set()
            await asyncio.Event().wait()
            raise AssertionError

    async with connected(Slow()) as (_, stub):
        running = asyncio.create_task(call(stub.Check, REQUEST, STEP_S))
        await asyncio.wait_for(started.wait(), STEP_S)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call(stub.Check, REQUEST, STEP_S)


async def test_a_reader_that_leaves_ends_the_stream_at_the_server() -> None:
    open_now: list[int] = []

    class Watched(Health):
        async def Watch(self, request: Any, context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:  # noqa: N802
            open_now.append(1)
            try:
                async for reply in super().Watch(request, context):
                    yield reply
            finally:
                open_now.pop()

    async with connected(Watched()) as (_, stub):
        stream: Any = replies(stub.Watch(REQUEST))
        await anext(stream)
        assert open_now
        await stream.aclose()
        await eventually_async(lambda: not open_now, within_s=STEP_S)


# --- peers that are frozen or gone -------------------------------------------------------------------------


async def test_a_frozen_server_costs_a_call_its_deadline_and_no_more() -> None:
    with server_process() as (process, target):
        channel = open_channel(target)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        await call(stub.Check, REQUEST, STEP_S)
        process.send_signal(signal.SIGSTOP)
        began_s = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await call(stub.Check, REQUEST, 0.3)
        assert 0.3 <= time.monotonic() - began_s < STEP_S
        await channel.close()


async def test_an_idle_stream_of_a_frozen_server_breaks_by_pings() -> None:
    with server_process() as (process, target):
        channel = open_channel(target)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        stream = replies(stub.Watch(REQUEST))
        await anext(stream)
        process.send_signal(signal.SIGSTOP)
        began_s = time.monotonic()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(anext(stream), STEP_S)
        assert time.monotonic() - began_s < 6.0
        await channel.close()


async def test_an_idle_stream_of_a_healthy_server_holds() -> None:
    """Our pings are none too many for our servers: no GOAWAY for them."""
    with server_process() as (_, target):
        channel = open_channel(target)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        stream = replies(stub.Watch(REQUEST))
        await anext(stream)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 5.0)
        await channel.close()


async def test_a_killed_server_breaks_a_stream_at_once_and_its_successor_is_reached_at_once() -> None:
    with server_process() as (process, target):
        channel = open_channel(target)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        stream = replies(stub.Watch(REQUEST))
        await anext(stream)
        began_s = time.monotonic()
        process.kill()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(anext(stream), STEP_S)
        assert time.monotonic() - began_s < 1.8  # pings take longer
        process.wait(STEP_S)  # a link breaks before its process is all gone, and its port with it
        server, health = make_server(), Health()
        register(health, server)
        bind(server, target)  # at once: nothing of the dead one is in the way
        await server.start()
        health.set(True)
        assert await is_serving(target, STEP_S)
        await channel.close()
        await server.stop(None)


async def test_health_of_a_frozen_or_absent_process_is_told_in_time() -> None:
    with server_process() as (process, target):
        assert await is_serving(target, STEP_S)
        process.send_signal(signal.SIGSTOP)
        began_s = time.monotonic()
        assert not await is_serving(target, 0.3)
        assert not await is_serving(f"127.0.0.1:{free_port()}", 0.3)
        assert time.monotonic() - began_s < STEP_S


async def test_method_that_nobody_serves_is_refused_as_unknown() -> None:
    async with connected(Health()) as (channel, _):
        unknown: Any = channel.unary_unary("/grpc.health.v1.Health/None")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await unknown(b"", timeout=STEP_S)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_server_that_never_began_can_be_stopped_and_stopped_again() -> None:
    server = make_server()
    register(Health(), server)
    await server.stop(None)
    await server.stop(None)


# --- bind --------------------------------------------------------------------------------------------------


async def test_a_port_is_bound_once() -> None:
    target = f"127.0.0.1:{free_port()}"
    first, second, third = make_server(), make_server(), make_threaded_server(1)
    bind(first, target)
    for other in (second, third):
        with pytest.raises(Held, match=rf"cannot listen on {target}: the port is in use"):
            bind(other, target)
    await first.stop(None)


async def test_a_port_is_bound_once_among_processes() -> None:
    with server_process() as (_, target), pytest.raises(Held):
        bind(make_server(), target)


async def test_a_foreign_listener_is_noticed() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as gRPC itself does by default
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        with pytest.raises(Held):
            bind(make_server(), f"127.0.0.1:{listener.getsockname()[1]}")


async def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(Held, match="not this machine's"):
        bind(make_server(), f"192.0.2.1:{free_port()}")


async def test_a_socket_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "socket", tmp_path / ("x" * 120)):
        with pytest.raises(Held, match="its folder is missing, or the path has more than 107 bytes"):
            bind(make_server(), f"unix:{path}")


async def test_a_socket_that_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind("socket")
        server, health = make_server(), Health()
        register(health, server)
        bind(server, "unix:socket")
        await server.start()
        health.set(True)
        assert await is_serving("unix:socket", STEP_S)
        await server.stop(None)
    finally:
        os.chdir(before)


# --- options that other parts rely on ----------------------------------------------------------------------


def test_options_that_were_measured_stand() -> None:
    channel, server = dict(CHANNEL_OPTIONS), dict(SERVER_OPTIONS)
    assert channel["grpc.enable_retries"] == 0
    assert channel["grpc.use_local_subchannel_pool"] == 1
    assert server["grpc.so_reuseport"] == 0
    assert channel["grpc.keepalive_time_ms"] + channel["grpc.http2.ping_timeout_ms"] <= 3000
    # A server must not take its clients' pings for an attack.
    assert server["grpc.http2.min_recv_ping_interval_without_data_ms"] < channel["grpc.keepalive_time_ms"]
