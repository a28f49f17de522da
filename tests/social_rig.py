"""What tests of the social service stand on: it, on a real server over a real store, and raw stubs."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import grpc

from snsnode.rpc import social_pb2 as pb
from snsnode.rpc import social_pb2_grpc
from snsnode.social.service import SocialService
from snsnode.store.engines import open_store
from snsnode.store.protocol import Store
from snsnode.transport.channels import open_channel
from snsnode.transport.servers import bind, make_server
from snsnode.transport.status import ERROR_KEY
from tests.eventually import eventually_async
from tests.ports import free_port

STEP_S = 10.0  # what a test waits for one thing at most


class Server:
    """One social service behind a port."""

    def __init__(self, store: Store, on_fenced: Callable[[], None] = lambda: None) -> None:
        self.store = store
        self.service = SocialService(store, on_fenced=on_fenced)
        self.target = f"127.0.0.1:{free_port()}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        server = make_server()
        server.add(social_pb2_grpc.add_SNSServiceServicer_to_server, self.service)
        bind(server, self.target)
        run = asyncio.create_task(self.service.run(), name="social")
        await asyncio.sleep(0)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)
            run.cancel()
            await asyncio.wait((run,))
            assert run.cancelled(), run.exception()

    @property
    def open_streams(self) -> int:
        return len(self.service._streams)

    @property
    def feeds(self) -> int:
        return sum(len(feeds) for feeds in self.service._hub._feeds.values())

    async def pushed(self, post_id: int) -> None:
        """Wait until the hub has passed a post."""
        await eventually_async(lambda: (self.service._hub._cursor or 0) >= post_id, within_s=STEP_S)


@asynccontextmanager
async def store_in(home: Path) -> AsyncIterator[Store]:
    store = await open_store("sqlite:///sns.db", home)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def serving(home: Path) -> AsyncIterator[Server]:
    """Serve the store in ``home``; several may."""
    async with store_in(home) as store, Server(store).running() as server:
        yield server


class RawClient:
    """A client that knows nothing but the stubs."""

    def __init__(self, target: str, username: str, client_id: str | None = None) -> None:
        self.caller = pb.Caller(username=username, client_id=client_id or f"client-of-{username}")
        self.channel = open_channel(target)
        self.stub: Any = social_pb2_grpc.SNSServiceStub(self.channel)

    async def __aenter__(self) -> Self:
        await self.login()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def login(self) -> pb.LoginReply:
        reply: pb.LoginReply = await self.stub.Login(pb.LoginRequest(caller=self.caller), timeout=STEP_S)
        return reply

    async def logout(self) -> None:
        await self.stub.Logout(pb.LogoutRequest(caller=self.caller), timeout=STEP_S)

    async def follow(self, username: str) -> None:
        await self.stub.Follow(self._following(username), timeout=STEP_S)

    async def unfollow(self, username: str) -> None:
        await self.stub.UnFollow(self._following(username), timeout=STEP_S)

    def _following(self, username: str) -> pb.FollowRequest:
        return pb.FollowRequest(caller=self.caller, username=username, request_id=uuid.uuid4().hex)

    async def post(self, text: str, request_id: str | None = None) -> int:
        request = pb.PostRequest(caller=self.caller, request_id=request_id or uuid.uuid4().hex, text=text)
        reply = await self.stub.Post(request, timeout=STEP_S)
        return int(reply.post_id)

    async def list(self, **page: Any) -> pb.ListReply:
        reply: pb.ListReply = await self.stub.List(pb.ListRequest(caller=self.caller, **page), timeout=STEP_S)
        return reply

    async def session(self) -> Any:
        """Open the Session stream and take its notice."""
        call = self.stub.Session(pb.SessionRequest(caller=self.caller))
        notice = await asyncio.wait_for(call.read(), STEP_S)
        assert notice.lease_ms == 4000
        return call

    async def open(self, after: int | None = None) -> Any:
        """Open the Timeline stream, and read nothing."""
        call = self.stub.Timeline()
        enter = pb.TimelineRequest.Enter(caller=self.caller, after_post_id=after)
        await call.write(pb.TimelineRequest(enter=enter))
        return call

    @asynccontextmanager
    async def timeline(self, after: int | None = None) -> AsyncIterator["Seen"]:
        """Open a timeline, read it all the time, and be told when it was entered."""
        seen = Seen(await self.open(after))
        reading = asyncio.create_task(seen.read(), name="reader")
        try:
            await seen.until(lambda: seen.cursor is not None)
            yield seen
        finally:
            seen.call.cancel()
            await asyncio.wait((reading,))


class Seen:
    """What came out of a timeline so far."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.history: list[pb.Post] = []
        self.live: list[pb.Post] = []
        self.submitted: list[pb.TimelineReply.Submitted] = []
        self.cursor: int | None = None
        self.error: grpc.aio.AioRpcError | None = None

    async def read(self) -> None:
        try:
            async for reply in self.call:
                self.take(reply)
        except grpc.aio.AioRpcError as error:
            self.error = error
        except asyncio.CancelledError:
            pass  # the call was cancelled by its own side

    def take(self, reply: pb.TimelineReply) -> None:
        match reply.WhichOneof("kind"):
            case "history":
                assert self.cursor is None
                self.history.append(reply.history)
            case "entered":
                self.cursor = reply.entered.cursor
            case "live":
                assert self.cursor is not None
                self.live.append(reply.live)
            case "submitted":
                self.submitted.append(reply.submitted)

    @property
    def texts(self) -> list[str]:
        return [post.text for post in self.live]

    @property
    def newest(self) -> int:
        return max((post.post_id for post in (*self.history, *self.live)), default=0)

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait, but not longer than the stream lives."""
        await eventually_async(lambda: predicate() or self.error is not None, within_s=STEP_S)
        assert predicate(), self.error

    async def ended(self) -> grpc.aio.AioRpcError:
        await eventually_async(lambda: self.error is not None, within_s=STEP_S)
        assert self.error is not None
        return self.error

    async def submit(self, text: str, request_id: str) -> None:
        submit = pb.TimelineRequest.Submit(request_id=request_id, text=text)
        await self.call.write(pb.TimelineRequest(submit=submit))


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    """Wait for a call or a stream to fail, and return how."""
    try:
        async with asyncio.timeout(STEP_S):
            if hasattr(call, "read"):
                while await call.read() is not grpc.aio.EOF:
                    pass
            else:
                await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call did not fail")


def code_of(error: grpc.aio.AioRpcError) -> str | None:
    """Return our stable code."""
    return dict(error.trailing_metadata() or ()).get(ERROR_KEY)
