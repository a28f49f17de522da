"""A link: one channel to one server, and the calls over it. Nothing is retried here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, TypeVar

from snsnode.base.errors import Unavailable
from snsnode.client.moves import Server
from snsnode.rpc import social_pb2, social_pb2_grpc
from snsnode.transport.channels import UnaryMethod, call, open_channel, replies

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Link:
    """An open channel to ``server``; its maker closes it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.closed = False
        self._channel = open_channel(server.target)
        self.stub: Any = social_pb2_grpc.SNSServiceStub(self._channel)
        self._calls = 0  # unary ones in flight
        self._timelines: set[Any] = set()
        self._retired = False
        self._quiet = asyncio.Event()  # retired, and no call is in flight
        self._settled = asyncio.Event()

    async def call(self, method: UnaryMethod[Request, Reply], request: Request, timeout_s: float) -> Reply:
        """Call a method of ``stub``; raises what ``transport.call`` raises, ``Unavailable`` when closed."""
        self._check_open(self.closed)
        self._calls += 1
        try:
            return await call(method, request, timeout_s)
        finally:
            self._calls -= 1
            if self._retired and not self._calls:
                self._quiet.set()

    def session(self, caller: social_pb2.Caller) -> AsyncIterator[social_pb2.SessionNotice]:
        """Hold the login; the notices end when the server is gone or lets the client go."""
        self._check_open(self.closed)
        return replies(self.stub.Session(social_pb2.SessionRequest(caller=caller)))

    def timeline(self, requests: AsyncIterator[social_pb2.TimelineRequest]) -> Any:
        """Start a Timeline call; ``transport.replies`` reads it. ``Unavailable`` when retired or closed."""
        self._check_open(self.closed or self._retired)
        stream = self.stub.Timeline(requests)
        self._timelines.add(stream)
        stream.add_done_callback(self._timelines.discard)
        return stream

    def settle(self) -> None:
        """Note that the server has opened the session, or never will."""
        self._settled.set()

    async def settled(self, within_s: float) -> None:
        """Wait for ``settle``, not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._settled.wait()

    async def retire(self, within_s: float) -> None:
        """End the timelines, which go on over another link, and wait for the calls in flight, not for ever."""
        self._retired = True
        for stream in tuple(self._timelines):
            stream.cancel()
        if self._calls:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._quiet.wait()

    async def close(self) -> None:
        """Close the channel: pending calls raise ``Unavailable``. Safe to call twice."""
        self.closed = True
        await self._channel.close()

    def _check_open(self, closed: bool) -> None:
        if closed:
            raise Unavailable(f"the connection to {self.server.target} was closed")
