"""A store in memory, for tests that must fail it or stop it at a chosen moment. The real engine is the rule."""

import asyncio
import time
from collections.abc import Callable, Sequence

from snsnode.base.errors import AlreadyDone, NotAllowed, NotFound, SnsError
from snsnode.base.ids import ClientId, Epoch, PostId, RequestId, UserName, VmName
from snsnode.store.protocol import TIMELINE_POSTS, History, Login, Page, Post, Posted


class MemoryStore:
    """Keeps every promise of the contract but durability.

    ``before[METHOD]`` and ``after[METHOD]`` are called around a read or write, once; ``failing[METHOD]`` is raised
    each time; ``gates[METHOD]`` holds a call until it is set.
    """

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.follows: dict[tuple[UserName, UserName], int] = {}
        self.logins: dict[UserName, tuple[ClientId, float]] = {}
        self.requests: dict[tuple[UserName, RequestId], tuple[str, Posted]] = {}
        self.failing: dict[str, SnsError] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}
        self.calls: list[str] = []
        self.renewals: list[tuple[Login, ...]] = []
        self._watchers: dict[object, Callable[[], None]] = {}

    async def _called(self, method: str) -> None:
        self.calls.append(method)
        await asyncio.sleep(0)
        if method in self.gates:
            await self.gates[method].wait()
        if method in self.failing:
            raise self.failing[method]
        self.before.pop(method, lambda: None)()

    async def _answered(self, method: str) -> None:
        self.after.pop(method, lambda: None)()
        await asyncio.sleep(0)

    async def claim_epoch(self, vm: VmName, at_least: Epoch) -> Epoch:
        return at_least

    async def login(self, login: Login, lease_s: float) -> bool:
        await self._called("login")
        holder, until_s = self.logins.get(login.username, (None, 0.0))
        if holder not in (None, login.client_id) and until_s > time.monotonic():
            raise AlreadyDone(f"cannot log in {login.username}: logged in already")
        self.logins[login.username] = (login.client_id, time.monotonic() + lease_s)
        return holder == login.client_id

    async def renew(self, logins: Sequence[Login], lease_s: float) -> frozenset[Login]:
        await self._called("renew")
        self.renewals.append(tuple(logins))
        lost = {login for login in logins if self.logins.get(login.username, ("",))[0] != login.client_id}
        for login in set(logins) - lost:
            self.logins[login.username] = (login.client_id, time.monotonic() + lease_s)
        return frozenset(lost)

    async def logout(self, login: Login) -> None:
        await self._called("logout")
        if self.logins.get(login.username, ("",))[0] == login.client_id:
            del self.logins[login.username]

    async def follow(self, username: UserName, followee: UserName, request_id: RequestId) -> None:
        await self._called("follow")
        if followee not in self.logins:
            raise NotFound(f"cannot follow {followee}: there is no such user")
        self.follows[username, followee] = self._head()

    async def unfollow(self, username: UserName, followee: UserName, request_id: RequestId) -> None:
        await self._called("unfollow")
        if self.follows.pop((username, followee), None) is None:
            raise NotAllowed(f"cannot unfollow {followee}: not followed")

    async def post(self, username: UserName, request_id: RequestId, text: str) -> Posted:
        await self._called("post")
        known, posted = self.requests.get((username, request_id), (text, None))
        if known != text:
            raise AlreadyDone("cannot post: the request id was used for another text")
        if posted is None:
            posted = self.write(username, text)
            self.requests[username, request_id] = (text, posted)
        return posted

    def write(self, username: str, text: str = "text") -> Posted:
        """Store a post at once and tell the watchers."""
        post = Post(PostId(self._head() + 1), UserName(username), 1, text)
        self.posts.append(post)
        self.hint()
        return Posted(post.post_id, post.posted_at_ms)

    def hint(self) -> None:
        """Tell the watchers."""
        for watcher in tuple(self._watchers.values()):
            watcher()

    async def users(self, after: str, limit: int) -> Page:
        await self._called("users")
        return _page(list(self.logins), after, limit)

    async def followers(self, username: UserName, after: str, limit: int) -> Page:
        return _page([who for who, whom in self.follows if whom == username], after, limit)

    async def pages(
        self, username: UserName, users_after: str, followers_after: str, limit: int
    ) -> tuple[Page, Page]:
        return await self.users(users_after, limit), await self.followers(username, followers_after, limit)

    async def history(self, username: UserName, limit: int = TIMELINE_POSTS) -> History:
        await self._called("history")
        shown = [post for post in self.posts if post.username == username or self._sees(username, post)]
        history = History(tuple(reversed(shown[-limit:])), self._head())
        await self._answered("history")
        return history

    async def timeline_after(self, username: UserName, after: PostId, limit: int) -> Sequence[Post]:
        await self._called("timeline_after")
        later = (post for post in self.posts if post.post_id > after and post.username != username)
        shown = [post for post in later if self._sees(username, post)]
        await self._answered("timeline_after")
        return shown[:limit]

    async def posts_after(self, after: PostId, limit: int) -> Sequence[Post]:
        await self._called("posts_after")
        posts = [post for post in self.posts if post.post_id > after][:limit]
        await self._answered("posts_after")
        return posts

    async def last_post_id(self) -> PostId:
        await self._called("last_post_id")
        head = self._head()
        await self._answered("last_post_id")
        return head

    async def audience(self, post: Post, among: Sequence[UserName]) -> frozenset[UserName]:
        await self._called("audience")
        audience = frozenset(name for name in among if self._sees(name, post))
        await self._answered("audience")
        return audience

    def watch(self, on_posts: Callable[[], None]) -> Callable[[], None]:
        key = object()
        self._watchers[key] = on_posts

        def end() -> None:
            self._watchers.pop(key, None)

        return end

    async def close(self) -> None:
        self._watchers.clear()

    def _head(self) -> PostId:
        return self.posts[-1].post_id if self.posts else PostId(0)

    def _sees(self, username: UserName, post: Post) -> bool:
        return self.follows.get((username, post.username), post.post_id) < post.post_id


def _page(names: list[UserName], after: str, limit: int) -> Page:
    later = sorted(name for name in names if name > after)
    return Page(tuple(later[:limit]), len(later) > limit)
