"""Live push: from the store's posts to the open timelines of this process.

Called by the servicer, which subscribes a ``Feed`` for each open timeline. One ``Hub`` serves them all with one
cursor: it is woken by the store's hint and by a tick, reads what is new in pages, asks the store once an author
and page who sees it, and queues it. It never waits for a reader: a feed whose queue is full is marked *behind*,
loses its queue and reads the store by itself when its reader comes back.

Why nobody misses a post or gets one twice. Ids are given in commit order, so whoever read the store later knows
every id that an earlier reader knew. Let a page that the hub reads hold the post *p*:

- A feed that was subscribed, and not behind, when the page had been read is offered *p*, or marked behind.
- A feed that was subscribed, or ceased to be behind, after that reads the store afterwards (``Feed`` keeps that
  order), and finds *p* there.

So *p* comes one way at least; where it comes both ways the feed drops the second, whose id is not above its
cursor.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from snsnode.base.ids import PostId, UserName
from snsnode.social.outage import Outage
from snsnode.store.protocol import Post, Store

TICK_S = 1.0  # hints may be lost
PAGE_POSTS = 128  # what the hub reads at once
QUEUE_POSTS = 256  # of one feed; the posts themselves are shared by all
CATCH_UP_POSTS = 64  # a page that a feed reads for itself: held by a reader that is stuck, so at most 256 KiB
# In the pages of all feeds: 256 MiB of the longest posts; beyond it a page is one post. Only a crowd of strangers
# whose readers are all stuck comes near it.
HELD_POSTS_MAX = 65_536


class Held:
    """How many posts the feeds of a hub have read for themselves and not passed on."""

    def __init__(self) -> None:
        self.posts = 0

    def room(self) -> int:
        """Return how many posts the next page may have, one at least."""
        return max(1, min(CATCH_UP_POSTS, HELD_POSTS_MAX - self.posts))


class Feed:
    """The live posts of one open timeline: a cursor and a queue. Made by ``Hub.subscribe``."""

    def __init__(self, store: Store, username: UserName, on_change: Callable[[], None], held: Held) -> None:
        self.username = username
        self.behind = False
        self._held = held
        self._page = 0  # posts of ours among the held
        self._store = store
        self._on_change = on_change
        self._queue: deque[Post] = deque()
        self._cursor = PostId(0)

    def start(self, cursor: PostId, *, behind: bool = False) -> None:
        """Go on after ``cursor``, which was read after the subscription; ``behind``: with the store's posts."""
        self._cursor = cursor
        if behind:
            self.fall_behind()

    def offer(self, posts: Sequence[Post]) -> None:
        """Queue posts, oldest first, or fall behind where there is no room."""
        if self.behind:
            return
        if len(self._queue) + len(posts) > QUEUE_POSTS:
            self.fall_behind()
        else:
            self._queue.extend(posts)
            self._on_change()

    def fall_behind(self) -> None:
        """Drop the queue; the next ``take`` reads the store."""
        self.behind = True
        self._queue.clear()
        self._on_change()

    async def take(self) -> Sequence[Post]:
        """Return the next posts, oldest first; none: wait for ``on_change``. Never waits for a post.

        Those that were returned before have been passed on.
        """
        self.release()
        if self.behind:
            # First this, then the read: what the hub reads from now on is queued, and what it read before
            # was committed before our read begins. The other way round a post between them would be lost.
            self.behind = False
            self._page = self._held.room()
            self._held.posts += self._page  # before the read, in which others read, too
            posts = await self._store.timeline_after(self.username, self._cursor, self._page)
            if len(posts) >= self._page:
                self.fall_behind()
        else:
            posts = tuple(self._queue)
            self._queue.clear()
        # Both ways may bring the same post, and the hub may be older than the cursor.
        fresh = [post for post in posts if post.post_id > self._cursor]
        if fresh:
            self._cursor = fresh[-1].post_id
        return fresh

    def release(self) -> None:
        """Hold no page any more; safe to repeat."""
        self._held.posts -= self._page
        self._page = 0


class Hub:
    """Reads the store's new posts and offers them to the feeds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds: dict[UserName, set[Feed]] = {}
        self._wake = asyncio.Event()
        self._end_watch: Callable[[], None] | None = None  # only while there are feeds: to watch a store costs
        self._cursor: PostId | None = None  # None before the first look
        self._outage = Outage("read new posts")
        self._held = Held()

    def subscribe(self, username: UserName, on_change: Callable[[], None]) -> Feed:
        """Offer what is new for ``username`` to a feed from now on.

        Read the snapshot that the feed starts from after this call, never before. ``on_change`` is called when
        ``take`` has something.
        """
        feed = Feed(self._store, username, on_change, self._held)
        if self._end_watch is None:
            self._end_watch = self._store.watch(self._wake.set)
        self._feeds.setdefault(username, set()).add(feed)
        return feed

    def unsubscribe(self, feed: Feed) -> None:
        """Forget a feed; safe to repeat."""
        feed.release()
        feeds = self._feeds.get(feed.username, set())
        feeds.discard(feed)
        if not feeds:
            self._feeds.pop(feed.username, None)
        if not self._feeds:
            self._watch_no_more()

    async def run(self) -> None:
        """Push until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._wake.wait()
        finally:
            self._watch_no_more()

    def _watch_no_more(self) -> None:
        if self._end_watch is not None:
            self._end_watch()
            self._end_watch = None

    async def _look(self) -> None:
        try:
            while await self._push_page():
                pass
            self._outage.over()
        except Exception as error:  # noqa: BLE001 - the boundary of the task
            # The cursor moves only over pages that were pushed: the next tick reads this one again.
            self._outage.failed(error)

    async def _push_page(self) -> bool:
        """Push a page; return True where there may be another."""
        if self._cursor is None or not self._feeds:
            await self._jump()
            return False
        posts = await self._store.posts_after(self._cursor, PAGE_POSTS)
        # Taken after the page was read: whoever subscribes later reads the store later than we did.
        among = {name for name, feeds in self._feeds.items() if any(not feed.behind for feed in feeds)}
        shown = await self._who_sees(posts, among)
        # No await from here to the end: a page is pushed and passed, or it is not.
        for username, seen in shown.items():
            for feed in self._feeds.get(username, ()):
                feed.offer(seen)
        if posts:
            self._cursor = posts[-1].post_id
        return len(posts) >= PAGE_POSTS

    async def _jump(self) -> None:
        """Move to the end of the posts; whoever has subscribed meanwhile reads the store after this."""
        head = await self._store.last_post_id()
        for feeds in self._feeds.values():
            for feed in feeds:
                feed.fall_behind()
        self._cursor = head

    async def _who_sees(self, posts: Sequence[Post], among: set[UserName]) -> dict[UserName, list[Post]]:
        audiences: dict[PostId, frozenset[UserName]] = {}
        for author, written in _by_author(posts).items():
            # Whoever posts is not shown it live, whatever the store thinks of following oneself.
            audiences.update(await self._audiences(written, among - {author}))
        shown: dict[UserName, list[Post]] = {}
        for post in posts:
            for username in audiences[post.post_id]:
                shown.setdefault(username, []).append(post)
        return shown

    async def _audiences(self, written: Sequence[Post], among: set[UserName]) -> dict[PostId, frozenset[UserName]]:
        """Return who sees each of one author's posts, oldest first, with two questions as a rule.

        Who sees a post of an author sees that author's later ones, so only those who see the last and not the
        first, having followed in between, are asked about one by one.
        """
        last = await self._audience(written[-1], among)
        first = last if len(written) == 1 else await self._audience(written[0], last)
        audiences = {}
        for post in written[:-1]:
            audiences[post.post_id] = first | await self._audience(post, last - first)
        audiences[written[-1].post_id] = last
        return audiences

    async def _audience(self, post: Post, among: Iterable[UserName]) -> frozenset[UserName]:
        names = tuple(among)
        return await self._store.audience(post, names) if names else frozenset()


def _by_author(posts: Iterable[Post]) -> dict[UserName, list[Post]]:
    authors: dict[UserName, list[Post]] = {}
    for post in posts:
        authors.setdefault(post.username, []).append(post)
    return authors
