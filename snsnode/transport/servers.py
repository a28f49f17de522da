"""Servers: our options, an exclusive bind, and handlers whose errors of ours become statuses."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from snsnode.base.errors import Held, SnsError
from snsnode.transport.channels import PING_EVERY_MS, PING_TIMEOUT_MS
from snsnode.transport.status import ERROR_KEY, status_of

log = logging.getLogger(__name__)

REQUEST_MAX_BYTES = 64 * 1024  # the largest request is a post of 4 KiB, but for a router's table
# In flight at one server: three streams each of all the clients that it takes. The next call is refused. (A limit
# for each connection, grpc.max_concurrent_streams, breaks calls off with UNAVAILABLE where a client is at it.)
CALLS_MAX = 32_768

SERVER_OPTIONS: list[tuple[str, int]] = [
    # By default gRPC binds with SO_REUSEPORT: two masters would share a port and split the clients.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_EVERY_MS // 2),
    ("grpc.http2.max_ping_strikes", 0),
    # A client that vanished without a word is noticed by pings of the server's own.
    ("grpc.keepalive_time_ms", 2 * PING_EVERY_MS),
    ("grpc.keepalive_timeout_ms", 2 * PING_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", 2 * PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


class Server:
    """A server on the event loop whose handlers may raise our errors.

    Each handler is wrapped once, as it is registered: an interceptor, which gRPC asks anew for each call, would be
    5 % of it.
    """

    def __init__(self, inner: grpc.aio.Server) -> None:
        self._inner = inner

    def add(self, register: Callable[[Any, Any], None], servicer: object) -> None:
        """Serve ``servicer``; ``register`` is its generated ``add_…_to_server``."""
        register(servicer, self)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Serve these methods; each may raise ``SnsError``, and anything else is an internal error."""
        wrapped = {name: _wrapped(handler, f"/{service}/{name}") for name, handler in handlers.items()}
        self._inner.add_registered_method_handlers(service, wrapped)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: the generated functions register the very same methods by name, too."""

    def add_insecure_port(self, target: str) -> int:
        """As ``grpc.aio.Server.add_insecure_port``; see ``bind``."""
        return self._inner.add_insecure_port(target)

    async def start(self) -> None:
        """Serve from now on."""
        await self._inner.start()

    async def stop(self, grace_s: float | None) -> None:
        """Refuse new calls, and cut off those in flight after ``grace_s``. Safe before ``start``, and twice."""
        await self._inner.stop(grace_s)


def make_server(request_max_bytes: int = REQUEST_MAX_BYTES, calls_max: int = CALLS_MAX) -> Server:
    """Make a server on the running event loop.

    It refuses requests above ``request_max_bytes``, and calls while ``calls_max`` are in flight.
    """
    options = [*SERVER_OPTIONS, ("grpc.max_receive_message_length", request_max_bytes)]
    return Server(grpc.aio.server(options=options, maximum_concurrent_rpcs=calls_max))


def make_threaded_server(threads: int) -> grpc.Server:
    """Make a server with threads of its own: it answers also while the event loop is stuck."""
    options = [*SERVER_OPTIONS, ("grpc.max_receive_message_length", REQUEST_MAX_BYTES)]
    return grpc.server(ThreadPoolExecutor(threads, thread_name_prefix="keepalive"), options=options)


def bind(server: Server | grpc.Server, target: str) -> None:
    """Bind ``server`` to ``target`` for itself alone.

    Raises:
        Held: another process has the port, or the address is none of this machine's. A socket in the file
            system is taken over from whoever has it; it fails where its folder is missing or its path too long.
    """
    try:
        bound = server.add_insecure_port(target)
    except RuntimeError:
        bound = 0
    if bound:
        return
    if target.startswith("unix:"):
        raise Held(f"cannot listen on {target}: its folder is missing, or the path has more than 107 bytes")
    raise Held(
        f"cannot listen on {target}: the port is in use, or the address is not this machine's; "
        "'snsctl doctor' names who has it"
    )


def _wrapped(handler: Any, method: str) -> Any:
    if handler.response_streaming:
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )
        return make(_streaming(inner, method), handler.request_deserializer, handler.response_serializer)
    inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
    make_unary = (
        grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
    )
    return make_unary(_single(inner, method), handler.request_deserializer, handler.response_serializer)


def _single(inner: Callable[[Any, Any], Awaitable[Any]], method: str) -> Callable[[Any, Any], Awaitable[Any]]:
    async def handle(request: Any, context: Any) -> Any:
        try:
            return await inner(request, context)
        except SnsError as error:
            await _abort(context, error)
        except Exception as error:  # noqa: BLE001 - the boundary of a call: log, answer, go on
            await _abort_unexpected(context, error, method)

    return handle


def _streaming(
    inner: Callable[[Any, Any], AsyncIterator[Any]], method: str
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for reply in inner(request, context):
                yield reply
        except SnsError as error:
            await _abort(context, error)
        except Exception as error:  # noqa: BLE001 - the boundary of a call: log, answer, go on
            await _abort_unexpected(context, error, method)

    return handle


async def _abort(context: Any, error: SnsError) -> None:
    await context.abort(status_of(error), error.message, ((ERROR_KEY, error.code),))


async def _abort_unexpected(context: Any, error: Exception, method: str) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    log.exception("call failed: %s", method)
    await context.abort(grpc.StatusCode.INTERNAL, f"cannot answer {method}: internal error, see the server's log")
