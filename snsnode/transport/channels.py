"""Channels, and the only way to call through them: every call has a deadline and raises our errors."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeVar, cast

import grpc

from snsnode.transport.forked import use
from snsnode.transport.status import from_rpc

Request = TypeVar("Request", contravariant=True)
Reply = TypeVar("Reply", covariant=True)

# A frozen or vanished peer is noticed after at most PING_EVERY_MS + PING_TIMEOUT_MS.
PING_EVERY_MS = 1000
PING_TIMEOUT_MS = 1000

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    # Channels to one address share a subchannel, and with it the back-off of its last failure, so that a new
    # channel waits ~700 ms for a server that is long back. A pool of its own reconnects at once.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC's own retries repeat a call on UNAVAILABLE although it may have taken effect. Only we retry.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 500),  # despite its name this bounds one connection attempt
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.keepalive_time_ms", PING_EVERY_MS),
    # keepalive_timeout_ms alone notices a stopped peer after 60 s; with the ping timeout it holds.
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.enable_http_proxy", 0),  # a cluster's addresses are never behind a proxy of the environment
]


class UnaryMethod(Protocol[Request, Reply]):
    """A unary method of a generated stub over an aio channel."""

    def __call__(self, request: Request, /, *, timeout: float | None = None) -> Any:
        """Start the call; awaiting the result gives the reply."""


def open_channel(target: str) -> grpc.aio.Channel:
    """Open a channel to ``target`` (``address:port`` or ``unix:PATH``); the caller closes it.

    Raises:
        NotAllowed: this process was forked from one that had used gRPC.
    """
    use(f"connect to {target}")
    return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)


async def call(method: UnaryMethod[Request, Reply], request: Request, timeout_s: float) -> Reply:
    """Call a unary method.

    Raises:
        SnsError: what the server raised; ``Unavailable`` where the link broke, ``DeadlineExceeded`` after
            ``timeout_s``.
    """
    try:
        return cast(Reply, await method(request, timeout=max(timeout_s, 0.001)))
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from None
    except grpc.aio.UsageError:  # the channel was closed before the call
        raise from_rpc(_closed()) from None
    except asyncio.CancelledError:
        # grpc.aio raises it also where the *channel* was closed under the call; only ours is a cancellation.
        if _being_cancelled():
            raise
        raise from_rpc(_closed()) from None


async def replies(stream: Any) -> AsyncIterator[Any]:
    """Yield the replies of a streaming call and cancel it when the reader leaves.

    Raises:
        SnsError: as ``call``.
    """
    try:
        async for reply in stream:
            yield reply
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from None
    except asyncio.CancelledError:
        if _being_cancelled():
            raise
        raise from_rpc(_closed()) from None
    finally:
        stream.cancel()


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _closed() -> grpc.aio.AioRpcError:
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, empty, empty, details="the channel was closed")
