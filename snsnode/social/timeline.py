"""One open timeline: posts up, history and live posts down.

Made by the servicer for each ``Timeline`` call. Two tasks share a ``Timeline``: the call's own, which sends
(``replies``), and a reader, which takes the client's posts (``read``). They meet in the answers and in one
wake-up, which the feed rings too. What is not sent is bounded: gRPC's flow control holds the sender, a queue
and a page of posts wait in the feed, and the reader stops at ``ANSWERS_MAX`` answers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from snsnode.base.errors import Fenced, InvalidInput, SessionLost, SnsError, StoreFailed, Unavailable
from snsnode.base.ids import PostId, UserName
from snsnode.rpc.social_pb2 import TimelineReply, TimelineRequest
from snsnode.social import replies as reply
from snsnode.social.hub import Hub
from snsnode.store.protocol import Post, Posted, Store
from snsnode.transport.handlers import tell_unexpected

ANSWERS_MAX = 16

Submit = Callable[[TimelineRequest.Submit], Awaitable[Posted]]


class Timeline:
    """The stream of one client; ``submit`` stores one of its posts or raises our errors."""

    def __init__(self, store: Store, hub: Hub, username: UserName, submit: Submit) -> None:
        self._store = store
        self._hub = hub
        self._submit = submit
        self._username = username
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._answers: deque[TimelineReply] = deque()
        self._submitting = False
        self._error: SnsError | None = None
        # Subscribed before any snapshot is read: the hub says why.
        self._feed = hub.subscribe(username, self._wake.set)

    def end(self, error: SnsError) -> None:
        """End the stream with ``error``, once a post in flight is answered; the first call counts."""
        if self._error is None:
            self._error = error
        self._wake.set()
        self._room.set()

    def close(self) -> None:
        """Give back what the stream holds here; safe to repeat."""
        self._hub.unsubscribe(self._feed)

    async def replies(self, after: PostId | None) -> AsyncGenerator[TimelineReply, None]:
        """Yield what the client gets: after ``after``, or with the history.

        Raises:
            SnsError: what ``end`` was called with, or what the store raised.
        """
        async for message in self._opening(after):
            yield message
        posts: deque[Post] = deque()
        while True:
            self._wake.clear()
            if self._answers:
                yield self._answers.popleft()
                self._room.set()
            elif self._error is not None and not self._submitting:
                raise self._error
            elif self._error is not None:
                await self._wake.wait()
            elif posts or (posts := deque(await self._feed.take())):
                yield reply.live(posts.popleft())
            else:
                await self._wake.wait()

    async def _opening(self, after: PostId | None) -> AsyncIterator[TimelineReply]:
        if after is None:
            history = await self._store.history(self._username)
            self._feed.start(history.cursor)
            for post in history.posts:
                yield reply.history(post)
            yield reply.entered(history.cursor)
            return
        # A cursor that this store has not reached is another store's; waiting for it would hide what is new.
        cursor = min(after, await self._store.last_post_id())
        self._feed.start(cursor, behind=True)
        yield reply.entered(cursor)

    async def read(self, requests: AsyncIterator[TimelineRequest]) -> None:
        """Take the client's posts, one at a time, until it stops sending or the stream ends."""
        try:
            async for request in requests:
                if self._error is not None:
                    return
                await self._answer(request)
        except SnsError as error:
            self.end(error)
        except Exception as error:  # noqa: BLE001 - the boundary of the task
            if self._error is None:
                tell_unexpected(error, "/sns.v1.SNSService/Timeline")
            self.end(StoreFailed("cannot read this timeline's requests: internal error, see the server's log"))

    async def _answer(self, request: TimelineRequest) -> None:
        if request.WhichOneof("kind") != "submit":
            raise InvalidInput("cannot enter a timeline twice: after 'enter' send 'submit' only")
        while len(self._answers) >= ANSWERS_MAX and self._error is None:
            self._room.clear()
            await self._room.wait()
        if self._error is not None:
            return
        self._submitting = True
        try:
            self._answers.append(await self._submitted(request.submit))
        finally:
            self._submitting = False
            self._wake.set()

    async def _submitted(self, submit: TimelineRequest.Submit) -> TimelineReply:
        try:
            return reply.submitted(submit.request_id, await self._submit(submit))
        except (Unavailable, SessionLost, Fenced, StoreFailed):
            # The post is to be repeated, here or elsewhere: an answer would say that it is settled.
            raise
        except SnsError as error:
            return reply.not_submitted(submit.request_id, error)
