"""The social network's gRPC service.

Made by a master's wiring, which registers it with its server and runs ``run`` beside it. Checks what comes from
outside, knows who is logged in here, and leaves rows to the store and live posts to the hub. Handlers raise our
errors; the transport turns them into statuses.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from snsnode.base.errors import Exhausted, Full, SnsError, Unavailable
from snsnode.base.ids import RequestId, UserName, parse_request_id, parse_text, parse_username, shown
from snsnode.rpc import social_pb2, social_pb2_grpc
from snsnode.social import replies as reply
from snsnode.social import requests
from snsnode.social.fence import Fence
from snsnode.social.hub import Hub
from snsnode.social.sessions import LEASE_S, ClientSession, Sessions, Stream, keep_leases
from snsnode.social.timeline import Timeline
from snsnode.store.protocol import NoWriter, Posted, Store
from snsnode.transport.admission import address_of

ADMITTING_MAX = 2048  # logins and logouts in flight: half of what may wait for the store
DRAIN_WITHIN_S = 1.5  # a stream whose reader reads nothing is left to the server's own grace
LEASE_MS = int(LEASE_S * 1000)


class SocialService(social_pb2_grpc.SNSServiceServicer):
    """Serves the network over ``store``, which the caller owns and closes.

    ``on_fenced`` is called once, when a write shows that this incarnation was replaced; it must not block.
    """

    def __init__(self, store: Store, *, on_fenced: Callable[[], None]) -> None:
        self._store = store
        self._fence = Fence(on_fenced)
        self._sessions = Sessions()
        self._hub = Hub(store)
        self._tasks: asyncio.TaskGroup | None = None
        self._leaving = False
        self._logins = 0
        self._calls: set[asyncio.Task[Any]] = set()  # of unary calls in flight
        self._admissions = 0  # logins and logouts among them
        self._streams: dict[asyncio.Task[Any], Stream] = {}  # by the call's task

    @property
    def clients(self) -> int:
        """How many clients are here, logged in."""
        return self._sessions.present

    @property
    def logins(self) -> int:
        """How many logins there were."""
        return self._logins

    def announce_leaving(self, on: bool) -> None:
        """Tell every client to move to another server, or that it may stay after all; ``drain`` ends them."""
        self._sessions.announce_leaving(on)

    async def run(self) -> None:
        """Renew logins and push posts until cancelled; streams need it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._hub.run(), name="social-push")
                tasks.create_task(keep_leases(self._sessions, self._store, self._fence), name="social-leases")
        finally:
            self._tasks, self._leaving = None, True
            self._end_streams()

    async def drain(self) -> None:
        """Refuse new logins and streams, answer what is in flight, and end the open streams.

        Returns when they have ended, at most after twice ``DRAIN_WITHIN_S``; ``run`` must still be running.
        """
        self._leaving = True
        if self._calls:
            await asyncio.wait(tuple(self._calls), timeout=DRAIN_WITHIN_S)
        self._end_streams()
        if self._streams:
            await asyncio.wait(tuple(self._streams), timeout=DRAIN_WITHIN_S)

    async def Login(self, request: social_pb2.LoginRequest, context: Any) -> social_pb2.LoginReply:  # noqa: N802
        """Take the name for this client, or take it up again."""
        self._admitting()
        login = requests.login(request.caller)
        if self._leaving:
            raise _leaving()
        address = address_of(context.peer())
        with self._sessions.room_for(login, address, time.monotonic()):
            try:
                with self._fence.watched():
                    resumed = await self._store.login(login, LEASE_S)
            except Exhausted:
                # Reads go on where nothing can be written. The name is granted at this server alone; the next
                # renewal that the store takes confirms it, or finds that it is somebody else's and ends the login.
                if self._sessions.is_taken(login):
                    raise
                resumed = False
            self._sessions.add(login, time.monotonic(), address)
        self._logins += 1
        return social_pb2.LoginReply(lease_ms=LEASE_MS, resumed=resumed)

    async def Logout(self, request: social_pb2.LogoutRequest, context: Any) -> social_pb2.LogoutReply:  # noqa: N802
        """Free the name, wherever this client logged in."""
        self._admitting()
        login = requests.login(request.caller)
        self._sessions.remove(login)
        with self._fence.watched():
            await self._store.logout(login)
        return social_pb2.LogoutReply()

    async def Session(  # noqa: N802
        self, request: social_pb2.SessionRequest, context: Any
    ) -> AsyncIterator[social_pb2.SessionNotice]:
        """Stay open while the client lives; say whether this server leaves."""
        self._stay()
        session = self._use(request.caller)
        link = _Link()
        self._sessions.open_link(session, link)
        self._opened(session, link)
        while True:
            yield social_pb2.SessionNotice(lease_ms=LEASE_MS, leaving=link.leaving)
            await link.news()

    async def List(self, request: social_pb2.ListRequest, context: Any) -> social_pb2.ListReply:  # noqa: N802
        """Give a page of all users and a page of the caller's followers."""
        username = self._called(request.caller).login.username
        limit = requests.page_size(request.page_size)
        users_after = requests.after(request.users_after)
        followers_after = requests.after(request.followers_after)
        users, followers = await self._store.pages(username, users_after, followers_after, limit)
        return social_pb2.ListReply(
            users=users.names,
            followers=followers.names,
            more_users=users.more,
            more_followers=followers.more,
        )

    async def Follow(self, request: social_pb2.FollowRequest, context: Any) -> social_pb2.FollowReply:  # noqa: N802
        """Let the caller see another's posts from now on."""
        username, followee, request_id = self._following(request)
        with self._writing(username):
            await self._store.follow(username, followee, request_id)
        return social_pb2.FollowReply()

    async def UnFollow(self, request: social_pb2.FollowRequest, context: Any) -> social_pb2.FollowReply:  # noqa: N802
        """Undo a follow."""
        username, followee, request_id = self._following(request)
        with self._writing(username):
            await self._store.unfollow(username, followee, request_id)
        return social_pb2.FollowReply()

    async def Post(self, request: social_pb2.PostRequest, context: Any) -> social_pb2.PostReply:  # noqa: N802
        """Store a post; the reply says that it is durable."""
        session = self._called(request.caller)
        return reply.post_reply(await self._post(session, request.request_id, request.text))

    async def Timeline(  # noqa: N802
        self, request_iterator: AsyncIterator[social_pb2.TimelineRequest], context: Any
    ) -> AsyncIterator[social_pb2.TimelineReply]:
        """Show the caller's timeline and take its posts."""
        enter = await requests.first(request_iterator)
        after = requests.cursor(enter)
        tasks = self._stay()
        session = self._use(enter.caller)

        async def submit(message: social_pb2.TimelineRequest.Submit) -> Posted:
            return await self._post(session, message.request_id, message.text)

        stream = Timeline(self._store, self._hub, session.login.username, submit)
        self._sessions.open_timeline(session, stream)
        reader = tasks.create_task(stream.read(request_iterator), name=f"timeline-of-{session.login.username}")
        self._opened(session, stream, stream.close, reader.cancel)
        async for message in stream.replies(after):
            yield message

    async def _post(self, session: ClientSession, request_id: str, text: str) -> Posted:
        checked_id, checked_text = parse_request_id(request_id), parse_text(text)
        username = session.login.username
        with self._writing(username):
            return await self._store.post(username, checked_id, checked_text)

    @contextmanager
    def _writing(self, username: UserName) -> Iterator[None]:
        """Write for ``username``, who is logged in: where the store does not know it, there was no room for it."""
        try:
            with self._fence.watched():
                yield
        except NoWriter:
            raise Exhausted(
                f"cannot write as {shown(username)}: this new user could not be recorded, for the store's disk "
                "takes no more; free space there"
            ) from None

    def _following(self, request: social_pb2.FollowRequest) -> tuple[UserName, UserName, RequestId]:
        session = self._called(request.caller)
        return session.login.username, parse_username(request.username), parse_request_id(request.request_id)

    def _called(self, caller: social_pb2.Caller) -> ClientSession:
        """Return the session of a unary call's caller; it counts among the login's calls until it is answered.

        Raises:
            InvalidInput, SessionLost, Exhausted: as ``_use``; or the login has too many in flight.
        """
        self._answering()
        session = self._use(caller)
        self._sessions.begin_call(session)
        _this_task().add_done_callback(lambda _: self._sessions.end_call(session))
        return session

    def _use(self, caller: social_pb2.Caller) -> ClientSession:
        return self._sessions.use(requests.login(caller), time.monotonic())

    def _stay(self) -> asyncio.TaskGroup:
        """Return the group of the service's tasks.

        Raises:
            Unavailable: the server is leaving, or does not run yet.
        """
        if self._leaving or self._tasks is None:
            raise _leaving()
        return self._tasks

    def _opened(self, session: ClientSession, stream: Stream, *give_back: Callable[[], object]) -> None:
        """Note a stream of the call that is running; when the call's task is done, whatever ended it, undo it.

        A generator's own ``finally`` would run late where the client left while a message was being sent.
        """
        task = _this_task()
        self._streams[task] = stream

        def closed(_: asyncio.Task[Any]) -> None:
            del self._streams[task]
            self._sessions.close(session, stream, time.monotonic())
            for undo in give_back:
                undo()

        task.add_done_callback(closed)

    def _end_streams(self) -> None:
        for stream in self._streams.values():
            stream.end(_leaving())

    def _admitting(self) -> None:
        """Note a call of somebody who need not be logged in, and so is held to no limit of a login's own.

        Raises:
            Full: ``ADMITTING_MAX`` are in flight; the rest of the store's queue is for those who are in.
        """
        if self._admissions >= ADMITTING_MAX:
            raise Full(f"cannot log in or out: {ADMITTING_MAX} do already; try again in a moment")
        self._admissions += 1
        self._answering()

        def ended(_: object) -> None:
            self._admissions -= 1

        _this_task().add_done_callback(ended)

    def _answering(self) -> None:
        """Note a unary call in flight, until its task is done: then the reply has been sent, too."""
        task = _this_task()
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)


class _Link:
    """An open Session stream."""

    def __init__(self) -> None:
        self.leaving = False
        self._news = asyncio.Event()
        self._error: SnsError | None = None

    def end(self, error: SnsError) -> None:
        self._error = self._error or error
        self._news.set()

    def tell(self, leaving: bool) -> None:
        self.leaving = leaving
        self._news.set()

    async def news(self) -> None:
        """Wait until there is something to tell; raises the error that ``end`` gave."""
        await self._news.wait()
        self._news.clear()
        if self._error is not None:
            raise self._error


def _leaving() -> Unavailable:
    return Unavailable("cannot serve this: the server is leaving; ask a router")


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
