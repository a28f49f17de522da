"""The client for programs without an event loop: the same calls, errors and promises, blocking.

A facade: each call runs in ``Client``, in a background thread, and the caller waits for it.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from snsnode.base.errors import NotAllowed, SnsError
from snsnode.client.background import Background, Call, Ended, acquire, release
from snsnode.client.client import DEADLINE_S, Client
from snsnode.client.events import Event
from snsnode.client.timeline import Post, Timeline
from snsnode.transport.forked import is_inherited, use


class SyncClient:
    """One user's connection to the network; ``with`` logs in before its body and out after it.

    As ``Client``, but every call blocks the thread that makes it. Several threads may call at once. An interrupt
    (Ctrl-C) ends the call that waits and leaves the client usable. In a coroutine use ``Client``: this one would
    block its event loop.
    """

    def __init__(
        self,
        routers: Sequence[str],
        username: str,
        *,
        deadline_s: float = DEADLINE_S,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Check the arguments; nothing is sent yet.

        ``routers`` are ``host:port`` each. ``on_event`` is called in the background thread and must not block; it
        cannot call this client, nor end the program: what it raises is logged, ``SystemExit`` too.

        Raises:
            InvalidInput: an argument is malformed.
        """
        contained = _contained(on_event) if callable(on_event) else on_event
        self._client = Client(routers, username, deadline_s=deadline_s, on_event=contained)
        self._background: Background | None = None

    @property
    def username(self) -> str:
        """The user's name."""
        return self._client.username

    def __enter__(self) -> Self:
        """Log in.

        Raises:
            AlreadyDone: another live client has the name.
            NotAllowed: logged in already, or this process was forked from one that had used a client.
            Exhausted: the machine gives no thread.
            Unavailable: no server answered within the deadline.
        """
        use(f"log in as {self.username}")  # first: a fork leaves locks behind that nobody ever releases
        if self._background is not None:
            raise NotAllowed(f"cannot log in {self.username}: this client is logged in already")
        background = acquire()
        try:
            background.call(self._client.__aenter__())
        except BaseException:
            release(background)
            raise
        self._background = background
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Log out and end every timeline; with no server it takes 2 s at most and raises nothing."""
        background = self._background
        if background is None:
            return
        if is_inherited():
            self._background = None  # a forked child leaves the block; the login is its parent's
            return
        background.check_thread()
        self._background = None
        try:
            background.call(self._client.__aexit__(None, None, None))
        finally:
            release(background)

    def follow(self, username: str) -> None:
        """See the posts that ``username`` makes from now on; raises as ``Client.follow``."""
        self._in_use().call(self._client.follow(username))

    def unfollow(self, username: str) -> None:
        """Undo ``follow``; raises as ``Client.unfollow``."""
        self._in_use().call(self._client.unfollow(username))

    def post(self, text: str) -> Post:
        """Publish ``text``; when this returns, the post is durable and stored once. Raises as ``Client.post``."""
        return self._in_use().call(self._client.post(text))

    def list(self) -> tuple[list[str], list[str]]:
        """Return all users and this user's followers, each ascending."""
        return self._in_use().call(self._client.list())

    def timeline(self) -> "SyncTimeline":
        """Return the last 20 posts, newest first, then live ones: an iterator that survives failovers."""
        background = self._in_use()
        return SyncTimeline(background, background.call(_timeline(self._client)))

    def _in_use(self) -> Background:
        if self._background is None:
            raise NotAllowed(f"cannot call as {self.username}: not logged in; call inside 'with'")
        return self._background


class SyncTimeline(Iterator[Post]):
    """The last 20 posts, newest first, then every later one of others as it is made, oldest first.

    The user's own posts are among the 20 only: live, they are not echoed to their author.

    Ends when its client leaves ``with``, or with ``close``, which any thread may call; one that is dropped, as
    ``break`` does, is closed too. Several threads may share one: each post goes to one of them.
    """

    def __init__(self, background: Background, timeline: Timeline) -> None:
        self._background = background
        self._timeline = timeline
        self._reading = threading.Lock()
        self._pending: Call[Post | None] | None = None  # outlives an interrupted wait, so that no post is lost

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __next__(self) -> Post:
        """Wait for the next post.

        Raises:
            SnsError: the timeline was refused, or could not be resumed within the client's deadline.
        """
        use("read the timeline")
        with self._reading:
            post = self._next()
        if post is None:
            raise StopIteration
        return post

    def history(self) -> list[Post]:
        """Wait for the last 20 posts, newest first, and take them; iterating goes on after them.

        Raises:
            SnsError: as for the next post.
        """
        use("read the timeline")
        with self._reading:
            try:
                return [*self._left_over(), *self._background.call(self._timeline.history())]
            except Ended:
                return []

    def close(self) -> None:
        """End the timeline; safe to call twice."""
        if is_inherited():
            return
        with suppress(Ended):  # it was closed then
            self._background.call(self._timeline.aclose())

    def __del__(self) -> None:
        if is_inherited():
            return
        if self._pending is not None:
            self._pending.cancel()
        # Not here: it would touch the event loop from a thread that is not its own.
        self._background.let_go(self._timeline)

    def _next(self) -> Post | None:
        if self._pending is None:
            try:
                self._pending = self._background.start(_next(self._timeline))
            except Ended:
                return None
        self._pending.wait()
        pending, self._pending = self._pending, None
        return pending.result()

    def _left_over(self) -> list[Post]:
        """Return the post that an interrupted wait would have given, if there is one, and end that wait."""
        pending, self._pending = self._pending, None
        if pending is None:
            return []
        pending.cancel()
        pending.wait()
        try:
            post = pending.result()
        except SnsError:
            return []  # cancelled in time; another error comes again
        return [] if post is None else [post]


def _contained(on_event: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return ``on_event``, from which nothing gets out that would end the thread: it serves every client."""

    def call(event: Event) -> None:
        try:
            on_event(event)
        except Exception:
            raise
        except BaseException as error:  # of a thread that is not the main one, none of them ends the program
            raise RuntimeError(
                f"cannot end the program from on_event: {error!r} in the client's thread"
            ) from error

    return call


async def _timeline(client: Client) -> Timeline:
    return client.timeline()


async def _next(timeline: Timeline) -> Post | None:
    """Return the next post, None at the end: a ``StopAsyncIteration`` does not pass through a task."""
    return await anext(timeline, None)
