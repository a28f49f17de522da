"""The public client: what a program or the terminal calls to use the network."""

import weakref
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from snsnode.base.errors import DeadlineExceeded, NotAllowed, Unavailable
from snsnode.base.ids import new_client_id, new_request_id
from snsnode.client.arguments import check_on_event, deadline_of, name_of, routers_of, text_of
from snsnode.client.calls import retrying
from snsnode.client.events import Event
from snsnode.client.keeper import Keeper
from snsnode.client.link import Link
from snsnode.client.timeline import Post, Timeline, post_at
from snsnode.rpc import social_pb2
from snsnode.transport.forked import is_inherited, use

DEADLINE_S = 30.0

Reply = TypeVar("Reply")


class Client:
    """One user's connection to the network; ``async with`` logs in before its body and out after it.

    Every call may be made by several tasks at once, and cancelled. A server's death raises nothing: the call is
    repeated at the next server, for ``deadline_s`` at most. What a server refuses is raised at once, with the
    reason in words (``base.errors``: ``InvalidInput``, ``NotFound``, ``AlreadyDone``, ``NotAllowed``,
    ``Exhausted``); ``Unavailable`` and ``DeadlineExceeded`` say that nobody answered in time.
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

        ``routers`` are ``host:port`` each. ``on_event`` is called in the event loop and must not block.

        Raises:
            InvalidInput: an argument is malformed.
        """
        check_on_event(on_event)
        self._routers = routers_of(routers)
        self._username = name_of(username)
        self._deadline_s = deadline_of(deadline_s)
        self._on_event = on_event
        self._caller = social_pb2.Caller(username=self._username)
        self._keeper: Keeper | None = None
        self._timelines: weakref.WeakSet[Timeline] = weakref.WeakSet()

    @property
    def username(self) -> str:
        """The user's name."""
        return self._username

    async def __aenter__(self) -> Self:
        """Log in.

        Raises:
            AlreadyDone: another live client has the name.
            NotAllowed: the name differs from another user's only in case, or this client is logged in already, or
                this process was forked from one that had used a client.
            Unavailable: no server answered within the deadline.
        """
        use(f"log in as {self._username}")
        if self._keeper is not None:
            raise NotAllowed(f"cannot log in {self._username}: this client is logged in already")
        # A login is a client id: whoever comes back with the same one after a crash is the same client.
        self._caller = social_pb2.Caller(username=self._username, client_id=new_client_id())
        keeper = self._keeper = Keeper(self._routers, self._caller, self._on_event)
        try:
            await keeper.start()
            await retrying(keeper, f"log in as {self._username}", self._deadline_s, _logged_in)
        except (Unavailable, DeadlineExceeded) as error:
            self._keeper = None
            await keeper.stop()
            if not keeper.asked_to_log_in:
                raise
            doubt = f"a server was asked and did not answer, so that a new user {self._username} may exist now"
            raise type(error)(f"{error.message}; {doubt}") from None
        except BaseException:
            self._keeper = None
            await keeper.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Log out and end every timeline; with no server it takes 2 s at most and raises nothing."""
        keeper, self._keeper = self._keeper, None
        if is_inherited():
            return  # a forked child leaves the block; the login is its parent's
        try:
            for timeline in tuple(self._timelines):
                await timeline.aclose()
        finally:
            if keeper is not None:
                await keeper.stop()

    async def follow(self, username: str) -> None:
        """See the posts that ``username`` makes from now on.

        Raises:
            NotFound: there is no such user.
            AlreadyDone: followed already.
            NotAllowed: it is the caller.
        """
        request = self._follow_request(username)
        await self._call(f"follow {username}", lambda link, time_s: link.call(link.stub.Follow, request, time_s))

    async def unfollow(self, username: str) -> None:
        """Undo ``follow``.

        Raises:
            NotFound: there is no such user.
            NotAllowed: not followed.
        """
        request = self._follow_request(username)
        await self._call(
            f"unfollow {username}", lambda link, time_s: link.call(link.stub.UnFollow, request, time_s)
        )

    async def post(self, text: str) -> Post:
        """Publish ``text``; when this returns, the post is durable and stored once.

        Raises:
            InvalidInput: the text is blank, too long, or holds control characters.
            Exhausted: the server's disk is full or read-only.
        """
        request = social_pb2.PostRequest(caller=self._caller, request_id=new_request_id(), text=text_of(text))

        async def send(link: Link, time_s: float) -> social_pb2.PostReply:
            return await link.call(link.stub.Post, request, time_s)

        reply = await self._call("post", send)
        return post_at(self._username, reply.posted_at_ms, text, reply.post_id)

    async def list(self) -> tuple[list[str], list[str]]:
        """Return all users and this user's followers, each ascending."""
        users: list[str] = []
        followers: list[str] = []
        while True:
            page = await self._page(users[-1] if users else "", followers[-1] if followers else "")
            users.extend(page.users)
            followers.extend(page.followers)
            more = (page.more_users and page.users) or (page.more_followers and page.followers)
            if not more:
                return users, followers

    def timeline(self) -> Timeline:
        """Return the last 20 posts, newest first, then live ones: an async iterator that survives failovers."""
        timeline = Timeline(self._in_use(), self._caller, self._deadline_s)
        self._timelines.add(timeline)
        return timeline

    async def _page(self, users_after: str, followers_after: str) -> social_pb2.ListReply:
        request = social_pb2.ListRequest(
            caller=self._caller, users_after=users_after, followers_after=followers_after
        )

        async def send(link: Link, time_s: float) -> social_pb2.ListReply:
            return await link.call(link.stub.List, request, time_s)

        return await self._call("list the users", send)

    def _follow_request(self, username: str) -> social_pb2.FollowRequest:
        return social_pb2.FollowRequest(
            caller=self._caller, username=name_of(username), request_id=new_request_id()
        )

    async def _call(self, what: str, send: Callable[[Link, float], Awaitable[Reply]]) -> Reply:
        return await retrying(self._in_use(), what, self._deadline_s, send)

    def _in_use(self) -> Keeper:
        use(f"call as {self._username}")
        if self._keeper is None:
            raise NotAllowed(f"cannot call as {self._username}: not logged in; call inside 'async with'")
        return self._keeper


async def _logged_in(link: Link, time_s: float) -> None:
    """Need nothing of the link but that it is there: a link is a login."""
