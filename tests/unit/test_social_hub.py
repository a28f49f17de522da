"""The hand-over between the hub and a feed, stopped at every moment where a post could be lost or doubled."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from snsnode.base.errors import StoreFailed
from snsnode.base.ids import PostId, UserName
from snsnode.social import hub as hub_module
from snsnode.social.hub import CATCH_UP_POSTS, PAGE_POSTS, QUEUE_POSTS, Feed, Hub
from snsnode.store.protocol import Post
from tests.memory_store import MemoryStore

ANN, BOB, EVE = UserName("ann"), UserName("bob"), UserName("eve")


class Reader:
    """Reads a feed as a timeline does: history or catch-up first, then what is live."""

    def __init__(self, store: MemoryStore, hub: Hub, username: UserName) -> None:
        self._store = store
        self._wake = asyncio.Event()
        self._username = username
        self.feed: Feed = hub.subscribe(username, self._wake.set)
        self.ids: list[int] = []

    async def enter(self) -> None:
        history = await self._store.history(self._username)
        self.feed.start(history.cursor)

    async def until(self, post_id: int) -> list[int]:
        async with asyncio.timeout(5):
            while not self.ids or self.ids[-1] < post_id:
                self._wake.clear()
                posts = await self.feed.take()
                self.ids += [post.post_id for post in posts]
                if not posts:
                    await self._wake.wait()
        return self.ids


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    task = asyncio.create_task(hub.run(), name="hub")
    try:
        await turns_until(lambda: hub._cursor is not None)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def turns_until(predicate: Callable[[], bool]) -> None:
    """Let the event loop turn until it is so."""
    async with asyncio.timeout(5):
        while not predicate():  # noqa: ASYNC110 - the point is to let every other task have its turn
            await asyncio.sleep(0)


def network() -> MemoryStore:
    store = MemoryStore()
    store.follows[ANN, BOB] = 0
    return store


async def test_live_posts_arrive_in_order_and_once() -> None:
    store = network()
    hub = Hub(store)
    async with running(hub):
        reader = Reader(store, hub, ANN)
        await reader.enter()
        for _ in range(50):
            store.write("bob")
            await asyncio.sleep(0)
        assert await reader.until(50) == list(range(1, 51))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("method", ["history", "last_post_id", "posts_after", "audience"])
async def test_post_made_at_any_moment_of_entering_is_seen_once(moment: str, method: str) -> None:
    store = network()
    hub = Hub(store)
    shown: list[int] = []
    async with running(hub):
        other = Reader(store, hub, ANN)  # so that the hub reads pages before the one under test enters
        await other.enter()
        store.write("bob")
        getattr(store, moment)[method] = lambda: shown.append(store.write("bob").post_id)
        if method != "history":
            store.hint()
            async with asyncio.timeout(5):
                while not shown:
                    store.hint()
                    if method == "last_post_id":
                        hub._cursor = None
                    elif method == "audience":
                        store.write("bob")
                    await asyncio.sleep(0)
        reader = Reader(store, hub, ANN)
        history = await store.history(ANN)
        reader.feed.start(history.cursor)
        last = store.write("bob").post_id
        seen = sorted(post.post_id for post in history.posts) + await reader.until(last)
        assert seen == [post.post_id for post in store.posts][-len(seen) :]
        assert len(seen) >= min(20, last)


async def test_store_is_watched_only_while_somebody_listens() -> None:
    store = network()
    hub = Hub(store)
    async with running(hub):
        assert not store._watchers
        ann, bob = Reader(store, hub, ANN), Reader(store, hub, BOB)
        assert len(store._watchers) == 1  # one for all of them
        hub.unsubscribe(ann.feed)
        assert store._watchers
        for _ in range(2):
            hub.unsubscribe(bob.feed)
            assert not store._watchers
        store.write("bob")
        again = Reader(store, hub, ANN)
        await again.enter()
        assert len(store._watchers) == 1
        newest = store.write("bob").post_id
        assert (await again.until(newest))[-1] == newest
    assert not store._watchers


async def test_posts_made_while_a_feed_enters_are_not_lost_by_a_hub_that_had_nobody() -> None:
    # The hub jumps to the end while nobody listens: a feed that subscribes during the jump has an older
    # snapshot than the end that the hub jumps to.
    store = network()
    hub = Hub(store)
    readers: list[Reader] = []

    def subscribe_then_write() -> None:
        readers.append(Reader(store, hub, ANN))
        readers[0].feed.start(PostId(0))
        store.write("bob")

    store.before["last_post_id"] = subscribe_then_write
    async with running(hub):
        assert await readers[0].until(1) == [1]


async def test_feed_that_subscribes_while_the_hub_reads_gets_what_the_page_has_of_it() -> None:
    store = network()
    store.follows[EVE, BOB] = 0
    hub = Hub(store)
    readers: list[Reader] = []

    def enter_then_write() -> None:
        readers.append(Reader(store, hub, EVE))
        readers[0].feed.start(PostId(0))
        store.write("bob")

    async with running(hub):
        other = Reader(store, hub, ANN)  # else the hub would not read
        await other.enter()
        store.before["posts_after"] = enter_then_write
        store.hint()
        await turns_until(lambda: bool(readers))
        assert await readers[0].until(1) == [1]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_post_made_while_a_feed_catches_up_is_seen_once(moment: str) -> None:
    store = network()
    hub = Hub(store)
    for _ in range(3 * CATCH_UP_POSTS):
        store.write("bob")
    async with running(hub):
        reader = Reader(store, hub, ANN)
        reader.feed.start(PostId(0), behind=True)
        getattr(store, moment)["timeline_after"] = lambda: store.write("bob")
        last = 3 * CATCH_UP_POSTS + 1
        assert await reader.until(last) == list(range(1, last + 1))


async def test_post_read_by_the_hub_between_a_feeds_last_page_and_its_live_posts_is_not_lost() -> None:
    store = network()
    hub = Hub(store)
    async with running(hub):
        reader = Reader(store, hub, ANN)
        await reader.enter()
        reader.feed.fall_behind()
        gate = asyncio.Event()
        real = store.timeline_after

        async def slow(username: UserName, after: PostId, limit: int) -> list[Post]:
            page = list(await real(username, after, limit))  # the snapshot: empty
            store.timeline_after = real  # type: ignore[method-assign]
            store.write("bob")
            await turns_until(lambda: hub._cursor == PostId(1))
            gate.set()
            return page

        store.timeline_after = slow  # type: ignore[method-assign]
        assert await reader.until(1) == [1]
        assert gate.is_set()


async def test_feed_that_overflows_is_cut_off_and_catches_up_while_others_are_served() -> None:
    store = network()
    store.follows[EVE, BOB] = 0
    hub = Hub(store)
    total = 10 * QUEUE_POSTS
    async with running(hub):
        slow, fast = Reader(store, hub, ANN), Reader(store, hub, EVE)
        await slow.enter()
        await fast.enter()
        for written in range(1, total + 1):
            store.write("bob")
            if written % PAGE_POSTS == 0:
                await fast.until(written)
                assert len(slow.feed._queue) <= QUEUE_POSTS
        assert slow.feed.behind
        assert fast.ids == list(range(1, total + 1))
        assert "timeline_after" not in store.calls  # the fast one never had to
        assert await slow.until(total) == list(range(1, total + 1))


async def test_readers_that_are_stuck_hold_a_bounded_number_of_posts_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "HELD_POSTS_MAX", 2 * CATCH_UP_POSTS)
    store = network()
    hub = Hub(store)
    for _ in range(200):
        store.write("bob")
    feeds = [hub.subscribe(ANN, lambda: None) for _ in range(10)]
    for feed in feeds:
        feed.start(PostId(0), behind=True)
    pages = [len(await feed.take()) for feed in feeds]  # and none of them takes another
    assert pages == [CATCH_UP_POSTS, CATCH_UP_POSTS, *[1] * 8]
    async with running(hub):
        reader = Reader(store, hub, ANN)
        reader.feed.start(PostId(0), behind=True)
        assert await reader.until(200) == list(range(1, 201))
    for feed in (*feeds, reader.feed):
        hub.unsubscribe(feed)
    late = hub.subscribe(ANN, lambda: None)
    late.start(PostId(0), behind=True)
    assert len(await late.take()) == CATCH_UP_POSTS


async def test_authors_see_nothing_of_their_own_live_whatever_the_store_says() -> None:
    store = network()
    store.follows[BOB, BOB] = 0
    store.follows[BOB, ANN] = 0
    hub = Hub(store)
    async with running(hub):
        reader = Reader(store, hub, BOB)
        await reader.enter()
        store.write("bob")
        store.write("ann")
        assert await reader.until(2) == [2]


async def test_follow_made_within_a_page_shows_only_the_posts_after_it() -> None:
    store = MemoryStore()
    store.follows[EVE, BOB] = 0
    hub = Hub(store)
    ann, eve = Reader(store, hub, ANN), Reader(store, hub, EVE)
    ann.feed.start(PostId(0))
    eve.feed.start(PostId(0))
    hub._cursor = PostId(0)
    for post_id in range(1, 11):
        store.write("bob")
        if post_id == 4:
            store.follows[ANN, BOB] = post_id
    async with running(hub):
        assert await ann.until(10) == list(range(5, 11))
        assert await eve.until(10) == list(range(1, 11))


async def test_store_is_asked_twice_an_author_and_page_not_once_a_post_or_stream() -> None:
    store = MemoryStore()
    hub = Hub(store)
    hub._cursor = PostId(0)
    readers = []
    for number in range(200):
        store.follows[UserName(f"u{number}"), BOB] = 0
        readers.append(Reader(store, hub, UserName(f"u{number}")))
        readers[-1].feed.start(PostId(0))
    for _ in range(PAGE_POSTS - 1):
        store.write("bob")
    async with running(hub):
        for reader in readers:
            await reader.until(PAGE_POSTS - 1)
    assert store.calls.count("audience") == 2


@pytest.mark.parametrize("method", ["posts_after", "audience"])
async def test_store_that_fails_costs_no_post_and_one_line_of_log(
    method: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "TICK_S", 0.01)
    store = network()
    hub = Hub(store)
    async with running(hub):
        reader = Reader(store, hub, ANN)
        await reader.enter()
        store.failing[method] = StoreFailed("cannot read the posts: disk I/O error")
        store.write("bob")
        await turns_until(lambda: store.calls.count(method) >= 5)
        del store.failing[method]
        assert await reader.until(1) == [1]
    assert caplog.text.count("cannot read new posts, trying on: cannot read the posts: disk I/O error") == 1


async def test_closed_feed_leaves_nothing_behind() -> None:
    hub = Hub(MemoryStore())
    feeds = [hub.subscribe(ANN, lambda: None) for _ in range(2)]
    for feed in feeds:
        hub.unsubscribe(feed)
        hub.unsubscribe(feed)
    assert not hub._feeds
