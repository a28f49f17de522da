"""Posting callers over several stores, and what must hold of their answers, whatever breaks meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from snsnode.base.errors import Unavailable
from snsnode.base.ids import ClientId, PostId, RequestId, UserName
from snsnode.store.protocol import Login, Post, Store

CALLERS_OF_EACH = 8


@dataclass
class Load:
    """``acknowledged``: id and text of each post, in the order of the answers, with the time of each."""

    acknowledged: dict[PostId, str] = field(default_factory=dict)
    times_s: list[float] = field(default_factory=list)
    seen: list[Post] = field(default_factory=list)
    ending: bool = False
    settled: bool = False

    def served_since(self, moment_s: float) -> bool:
        """Tell whether a post was answered after ``moment_s`` (monotonic)."""
        return bool(self.times_s) and self.times_s[-1] > moment_s

    def first_after(self, moment_s: float) -> float:
        """Return how long after ``moment_s`` a post was answered."""
        return next(time_s for time_s in self.times_s if time_s > moment_s) - moment_s

    async def check(self, store: Store) -> None:
        """Fail where a post was lost, doubled or out of order; ``store`` is read from end to end."""
        stored = await all_posts(store)
        assert self.acknowledged.items() <= {post.post_id: post.text for post in stored}.items(), "lost"
        texts = [post.text for post in stored]
        assert len(set(texts)) == len(texts), "doubled"
        for caller in {text.partition("-")[0] for text in texts}:
            numbers = [int(text.partition("-")[2]) for text in texts if text.partition("-")[0] == caller]
            assert numbers == sorted(numbers), f"out of order: {caller}"
        times = [post.posted_at_ms for post in stored]
        assert times == sorted(times)
        assert self.seen == stored, "a reader that followed a cursor saw something else"


@asynccontextmanager
async def posting(stores: Sequence[Store]) -> AsyncIterator[Load]:
    """Post through all stores, and follow a cursor in the last, until the block ends; finish what is begun."""
    load = Load()
    await stores[0].login(Login(UserName("alice"), ClientId("c")), 60)
    async with asyncio.TaskGroup() as group:
        for number, store in enumerate(stores):
            for caller in range(CALLERS_OF_EACH):
                group.create_task(_post(load, store, f"s{number}c{caller}"))
        reader = asyncio.create_task(_follow(load, stores[-1]))
        try:
            yield load
        finally:
            load.ending = True
    load.settled = True
    await reader


async def all_posts(store: Store) -> list[Post]:
    """Return everything, page by page."""
    posts: list[Post] = []
    while page := await store.posts_after(posts[-1].post_id if posts else PostId(0), 500):
        posts += page
    return posts


async def _post(load: Load, store: Store, caller: str) -> None:
    number = 0
    while not load.ending:
        text = f"{caller}-{number}"
        try:
            posted = await store.post(UserName("alice"), RequestId(text), text)
        except Unavailable:
            continue  # The outcome is unknown: the same request again.
        load.acknowledged[posted.post_id] = text
        load.times_s.append(time.monotonic())
        number += 1


async def _follow(load: Load, store: Store) -> None:
    ended = False
    while not ended:
        ended = load.settled
        with suppress(Unavailable):
            load.seen += await store.posts_after(load.seen[-1].post_id if load.seen else PostId(0), 500)
        await asyncio.sleep(0.002)
