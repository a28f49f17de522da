"""A timeline that outlives its streams: it knows what was read, and resumes a broken stream after it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from snsnode.base.errors import DeadlineExceeded, SnsError, Unavailable
from snsnode.client.attempts import passes
from snsnode.client.calls import retrying
from snsnode.client.keeper import Keeper
from snsnode.client.link import Link
from snsnode.client.resume import Progress, broken, take
from snsnode.rpc import social_pb2
from snsnode.transport.channels import replies
from snsnode.transport.forked import is_inherited, use


@dataclass(frozen=True, slots=True)
class Post:
    """A post: who wrote it, when (UTC, by the store's clock), and what."""

    username: str
    time: datetime
    text: str
    post_id: int


def post_at(username: str, posted_at_ms: int, text: str, post_id: int) -> Post:
    """Make a post from Unix time in milliseconds."""
    return Post(username, datetime.fromtimestamp(posted_at_ms / 1000, UTC), text, post_id)


class Timeline(AsyncIterator[Post]):
    """The last 20 posts, newest first, then every later one of others as it is made, oldest first.

    The user's own posts are among the 20 only: live, they are not echoed to their author.

    Ends when its client leaves ``async with``, or with ``aclose``. Waiting for the next post may be cancelled,
    also by a timeout; the next wait goes on after the last post that was given out. One reader at a time.
    """

    def __init__(self, keeper: Keeper, caller: social_pb2.Caller, deadline_s: float) -> None:
        self._keeper = keeper
        self._caller = caller
        self._deadline_s = deadline_s
        self._progress = Progress()
        self._shown: deque[social_pb2.Post] = deque()
        self._stream: _Stream | None = None  # one that has answered
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Post:
        """Wait for the next post.

        Raises:
            SnsError: the timeline was refused, or could not be resumed within the client's deadline.
            NotAllowed: this process was forked from the one that opened the timeline.
        """
        use("read the timeline")
        while not self._shown:
            if self._ended or self._keeper.closed:
                self._drop()
                raise StopAsyncIteration
            await self._read()
        return _post(self._shown.popleft())

    async def history(self) -> list[Post]:
        """Wait for the last 20 posts, newest first, and take them; iterating goes on after them.

        Raises:
            SnsError: as for the next post.
        """
        use("read the timeline")
        while self._progress.after is None and not self._ended and not self._keeper.closed:
            await self._read()
        posts = [_post(post) for post in self._shown]
        self._shown.clear()
        return posts

    async def aclose(self) -> None:
        """End the timeline; safe to call twice."""
        self._ended = True
        if self._stream is not None and not is_inherited():
            await self._stream.aclose()

    def __del__(self) -> None:
        # Left by 'break': nobody reads this stream again, and the server must not go on filling it.
        if not self._keeper.closed and not is_inherited():
            self._drop()

    async def _read(self) -> None:
        """Take one reply, or find that the stream is broken: the next call of this opens another."""
        try:
            if self._stream is None:
                # The deadline counts from the break: a stream may have been quiet for hours before.
                reply = await retrying(self._keeper, "read the timeline", self._deadline_s, self._enter)
            else:
                reply = await self._stream.read()
        except SnsError as error:
            lost = self._drop()
            if self._ended or self._keeper.closed:
                return
            if lost is None or not passes(error):
                raise
            self._keeper.lost(lost, error)
            return
        except BaseException:
            self._drop()  # a stream whose reading was cancelled is over
            raise
        self._progress, shown = take(self._progress, reply)
        self._shown.extend(shown)

    async def _enter(self, link: Link, timeout_s: float) -> social_pb2.TimelineReply:
        """Open a stream over ``link`` and return its first reply; every server sends one at once."""
        self._progress = broken(self._progress)
        stream = _Stream(link, self._caller, self._progress.after)
        try:
            async with asyncio.timeout(timeout_s):
                reply = await stream.read()
        except TimeoutError:
            stream.cancel()
            raise DeadlineExceeded(f"{link.server.target} did not open the timeline in time") from None
        except BaseException:
            stream.cancel()
            raise
        self._stream = stream
        return reply

    def _drop(self) -> Link | None:
        """Cancel the stream, if there is one; return its link."""
        stream, self._stream = self._stream, None
        if stream is None:
            return None
        stream.cancel()
        return stream.link


def _post(post: social_pb2.Post) -> Post:
    return post_at(post.username, post.posted_at_ms, post.text, post.post_id)


class _Stream:
    """One Timeline call over one link."""

    def __init__(self, link: Link, caller: social_pb2.Caller, after: int | None) -> None:
        self.link = link
        self._over = asyncio.Event()
        enter = social_pb2.TimelineRequest.Enter(caller=caller, after_post_id=after)
        self._rpc = link.timeline(_requests(enter, self._over))
        self._replies: Any = replies(self._rpc)

    async def read(self) -> social_pb2.TimelineReply:
        """Return the next reply.

        Raises:
            SnsError: the stream broke or was ended.
        """
        try:
            reply: social_pb2.TimelineReply = await anext(self._replies)
        except StopAsyncIteration:
            raise Unavailable(f"{self.link.server.target} ended the timeline") from None
        return reply

    def cancel(self) -> None:
        """End the call; a pending ``read`` raises."""
        self._over.set()
        self._rpc.cancel()

    async def aclose(self) -> None:
        """End the call and its reply iterator, unless somebody reads it: the reader ends it then."""
        self.cancel()
        if not self._replies.ag_running:
            await self._replies.aclose()


async def _requests(
    enter: social_pb2.TimelineRequest.Enter, over: asyncio.Event
) -> AsyncIterator[social_pb2.TimelineRequest]:
    """Enter, and keep our side open until ``over``: to end it would end the timeline."""
    yield social_pb2.TimelineRequest(enter=enter)
    await over.wait()
