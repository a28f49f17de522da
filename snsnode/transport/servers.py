"""Servers: our options, an exclusive bind, and handlers whose errors of ours become statuses."""

import contextlib
import ipaddress
import resource
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from snsnode.base.errors import Held, SnsError
from snsnode.transport.admission import Admission, Bounds
from snsnode.transport.channels import PING_EVERY_MS, PING_TIMEOUT_MS
from snsnode.transport.handlers import REQUEST_MAX_BYTES, Handlers, internal, parser, tell_unexpected
from snsnode.transport.status import ERROR_KEY, status_of

# gRPC's own bound of calls in flight, above the sum of ours: for those that wait for their turn to be counted.
# (A limit for each connection, grpc.max_concurrent_streams, breaks calls off with UNAVAILABLE where a client is at
# it.)
UNCOUNTED_MAX = 4_096
# Connections at one port: gRPC accepts and closes what is above. What a role needs besides (files, its own lines
# to others) stays free, or it could neither answer for itself nor look at its partner.
CONNECTIONS_MAX = 16_384
DESCRIPTORS_KEPT = 512
IDLE_MS = 15_000  # a connection without a call is closed; a client holds a Session, a master registers
HANDSHAKE_MS = 5_000

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
    """A server on the event loop whose handlers may raise our errors."""

    def __init__(self, inner: grpc.aio.Server, bounds: Bounds) -> None:
        self._inner = inner
        self._handlers = Handlers(Admission(bounds))

    def add(self, register: Callable[[Any, Any], None], servicer: object) -> None:
        """Serve ``servicer``; ``register`` is its generated ``add_…_to_server``."""
        register(servicer, self)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Serve these methods; each may raise ``SnsError``, and anything else is an internal error."""
        wrapped = {
            name: self._handlers.wrapped(handler, f"/{service}/{name}") for name, handler in handlers.items()
        }
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


class ThreadedServer:
    """A server with threads of its own; its handlers may raise our errors, too."""

    def __init__(self, inner: grpc.Server) -> None:
        self._inner = inner

    def add(self, register: Callable[[Any, Any], None], servicer: object) -> None:
        """Serve ``servicer``; ``register`` is its generated ``add_…_to_server``."""
        register(servicer, self)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Serve these methods, which must be unary."""
        wrapped = {name: _threaded(handler, f"/{service}/{name}") for name, handler in handlers.items()}
        self._inner.add_registered_method_handlers(service, wrapped)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: the generated functions register the very same methods by name, too."""

    def add_insecure_port(self, target: str) -> int:
        """As ``grpc.Server.add_insecure_port``; see ``bind``."""
        return self._inner.add_insecure_port(target)

    def start(self) -> None:
        """Serve from now on."""
        self._inner.start()

    def stop(self, grace_s: float | None) -> Any:
        """Refuse new calls, and cut off those in flight after ``grace_s``; returns an event for the end."""
        return self._inner.stop(grace_s)


def make_server(request_max_bytes: int = REQUEST_MAX_BYTES, bounds: Bounds | None = None) -> Server:
    """Make a server on the running event loop.

    It refuses requests above ``request_max_bytes``, connections above ``connections_max`` and calls above
    ``bounds``.
    """
    bounds = bounds or Bounds()
    options = [
        *SERVER_OPTIONS,
        ("grpc.max_receive_message_length", request_max_bytes),
        ("grpc.max_allowed_incoming_connections", connections_max()),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    ]
    inner = grpc.aio.server(options=options, maximum_concurrent_rpcs=bounds.in_all + UNCOUNTED_MAX)
    return Server(inner, bounds)


def make_threaded_server(threads: int) -> ThreadedServer:
    """Make a server with threads of its own: it answers also while the event loop is stuck."""
    options = [*SERVER_OPTIONS, ("grpc.max_receive_message_length", REQUEST_MAX_BYTES)]
    return ThreadedServer(
        grpc.server(ThreadPoolExecutor(threads, thread_name_prefix="keepalive"), options=options)
    )


def connections_max() -> int:
    """Return how many connections a port takes: what the limit of descriptors leaves, a quarter kept at least."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    kept = max(soft // 4, min(DESCRIPTORS_KEPT, soft // 2))
    return max(1, min(CONNECTIONS_MAX, soft - kept))


def bind(server: Server | ThreadedServer, target: str) -> None:
    """Bind ``server`` to ``target`` for itself alone: an IP address and a port, or a socket in the file system.

    No name: it would be looked up here, on the event loop, and gRPC is content with any of a name's addresses that
    is free. ``reservation.reserve`` looks names up, in a thread, and tells the targets.

    Raises:
        Held: another process has the port, or the address is not this machine's. A socket in the file system is
            taken over from whoever has it; it fails where its folder is missing or its path too long.
    """
    if not target.startswith("unix:"):
        ipaddress.ip_address(target.rpartition(":")[0].strip("[]"))
    with contextlib.suppress(RuntimeError):  # gRPC was refused
        if server.add_insecure_port(target):
            return
    if target.startswith("unix:"):
        raise Held(f"cannot listen on {target}: its folder is missing, or the path has more than 107 bytes")
    raise Held(
        f"cannot listen on {target}: the port is in use, or the address is not this machine's; "
        "'snsctl doctor' names who has it"
    )


def _threaded(handler: Any, method: str) -> Any:
    parse, inner = parser(handler.request_deserializer, method), handler.unary_unary

    def handle(message: bytes, context: Any) -> Any:
        try:
            return inner(parse(message), context)
        except SnsError as error:
            context.set_trailing_metadata(((ERROR_KEY, error.code),))
            context.abort(status_of(error), error.message)
        except Exception as error:
            if context.code() is not None:  # the handler itself ended the call
                raise
            tell_unexpected(error, method)
            context.abort(grpc.StatusCode.INTERNAL, internal(method))

    return grpc.unary_unary_rpc_method_handler(handle, None, handler.response_serializer)
