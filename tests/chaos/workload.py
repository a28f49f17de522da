"""Clients at work while something happens: four that post, and a reader with an open timeline.

``calling(cluster, act)`` runs ``act`` in a thread meanwhile; afterwards it checks that no call failed, and that
each post was stored and seen exactly once, in order.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from snsnode.base.errors import SnsError
from snsnode.client import Client
from snsnode.store.protocol import TIMELINE_POSTS
from tests.chaos import history
from tests.cluster import Cluster
from tests.eventually import eventually_async
from tests.stored import stored_texts

POSTERS = 4
POST_EVERY_S = 0.1
CALL_WITHIN_S = 60.0
READ_WITHIN_S = 30.0
SQLITE = "sqlite:///sns.db"  # what a cluster has that says nothing else


class Workload:
    """The clients of one cluster, and what they saw. Used once."""

    def __init__(self, cluster: Cluster, store: str = SQLITE) -> None:
        self._cluster = cluster
        self._store = store
        self._routers = cluster.router_targets
        self._entered = asyncio.Event()
        self._ending = asyncio.Event()
        self.acknowledged: list[str] = []
        self.seen: list[str] = []
        self.slowest_s = 0.0  # the longest call of a poster
        self.problems: list[str] = []

    async def run(self, during: Callable[[], Awaitable[None]]) -> None:
        """Work until ``during`` returns, then check the histories."""
        names = [f"poster{number}" for number in range(POSTERS)]
        await self._enter(names)
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read(), name="reader")
            await self._entered.wait()
            posters = [group.create_task(self._post(name), name=name) for name in names]
            try:
                await during()
            finally:
                self._ending.set()
            await asyncio.wait(posters)
            await self._check(reader)

    async def _enter(self, names: Sequence[str]) -> None:
        """Let every user exist, and the reader follow the posters, before anything is posted."""
        for name in names:
            async with Client(self._routers, username=name):
                pass
        async with Client(self._routers, username="reader") as reader:
            for name in names:
                await reader.follow(name)

    async def _post(self, name: str) -> None:
        async with self._client(name) as client:
            number = 0
            while not self._ending.is_set():
                text = f"{name}-{number}"
                number += 1
                before_s = time.monotonic()
                if await self._succeeds(f"post {text}", client.post(text)):
                    self.acknowledged.append(text)
                self.slowest_s = max(self.slowest_s, time.monotonic() - before_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), POST_EVERY_S)

    async def _read(self) -> None:
        async with self._client("reader") as client:
            timeline = client.timeline()

            async def follow() -> None:
                assert await timeline.history() == []  # what is live comes oldest first, a history does not
                self._entered.set()
                async for post in timeline:
                    self.seen.append(post.text)

            await self._succeeds("read the timeline", follow())

    def _client(self, name: str) -> Client:
        return Client(self._routers, username=name, deadline_s=CALL_WITHIN_S)

    async def _succeeds(self, what: str, call: Awaitable[object]) -> bool:
        try:
            await call
        except SnsError as error:
            self.problems.append(f"{what}: {type(error).__name__}: {error.message}")
            return False
        return True

    async def _check(self, reader: "asyncio.Task[None]") -> None:
        stored = await stored_texts(self._store, self._cluster.home)
        self.problems += history.check_stored(stored, self.acknowledged)
        with contextlib.suppress(AssertionError):  # what is missing is told by the check
            await eventually_async(lambda: len(self.seen) >= len(stored) or reader.done(), READ_WITHIN_S)
        self.problems += history.check_seen(self.seen, stored)
        reader.cancel()
        await asyncio.wait([reader])
        async with self._client("reader") as fresh:
            newest = [post.text for post in await fresh.timeline().history()]
        expected = stored[: -TIMELINE_POSTS - 1 : -1]
        if newest != expected:
            self.problems.append(f"a fresh timeline shows {newest} instead of {expected}")


def calling(cluster: Cluster, act: Callable[[], object], store: str = SQLITE) -> Workload:
    """Run ``act`` in a thread while clients call; fail where one was refused, or a post lost or doubled."""
    workload = Workload(cluster, store)

    async def during() -> None:
        await asyncio.to_thread(act)

    asyncio.run(workload.run(during))
    assert not workload.problems, "\n".join(workload.problems) + cluster.tails()
    assert workload.acknowledged
    return workload
