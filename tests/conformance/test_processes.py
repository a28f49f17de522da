"""Several processes on one store: order across them, and what survives the death of one."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from snsnode.base.ids import PostId
from snsnode.store.protocol import Post, Store
from tests.conformance.conftest import Place
from tests.eventually import eventually_async

START_S = 10.0
FOREVER = 1_000_000
START = PostId(0)


class Child:
    """A writing process and the acknowledgements it printed."""

    def __init__(self, place: Place, username: str, posts: int) -> None:
        self._output = place.home / f"{username}.acknowledged"
        command = [sys.executable, "-m", "tests.conformance.writer", place.url, str(place.home), username]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen([*command, str(posts)], stdout=output)

    def acknowledged(self) -> dict[int, str]:
        complete = self._output.read_text(encoding="utf-8").rpartition("\n")[0]
        return {int(post_id): text for post_id, text in (line.split() for line in complete.splitlines())}

    def has_acknowledged(self, posts: int) -> bool:
        return len(self.acknowledged()) >= posts

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=5)


@pytest.fixture
def child(place: Place) -> Iterator[Callable[[str, int], Child]]:
    children: list[Child] = []

    def start(username: str, posts: int) -> Child:
        children.append(Child(place, username, posts))
        return children[-1]

    yield start
    for each in children:
        each.kill()


async def all_posts(store: Store, cursor: PostId = START) -> list[Post]:
    posts: list[Post] = []
    while page := await store.posts_after(cursor, 500):
        posts += page
        cursor = page[-1].post_id
    return posts


async def test_two_writers_lose_nothing_and_a_reading_cursor_skips_nothing(
    store: Store, child: Callable[[str, int], Child]
) -> None:
    writers = [child("alice", 1500), child("bob", 1500)]
    seen: list[Post] = []

    async def follow() -> bool:
        ended = all(writer.process.poll() is not None for writer in writers)
        seen.extend(await all_posts(store, seen[-1].post_id if seen else START))
        return ended

    await eventually_async(follow, within_s=20, every_s=0.001)
    assert [writer.process.returncode for writer in writers] == [0, 0]
    assert seen == await all_posts(store)
    acknowledged = writers[0].acknowledged() | writers[1].acknowledged()
    assert {post.post_id: post.text for post in seen} == acknowledged
    assert len({post.text for post in seen}) == len(seen) == 3000
    assert [post.posted_at_ms for post in seen] == sorted(post.posted_at_ms for post in seen)


@pytest.mark.chaos
async def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(
    store: Store, child: Callable[[str, int], Child]
) -> None:
    for round_ in range(3):
        writer = child(f"alice{round_}", FOREVER)
        await eventually_async(partial(writer.has_acknowledged, 500), within_s=START_S)
        writer.kill()
        stored = {int(post.post_id): post.text for post in await all_posts(store)}
        acknowledged = writer.acknowledged()
        assert acknowledged.items() <= stored.items()
        assert len(set(stored.values())) == len(stored)


@pytest.mark.chaos
async def test_readers_go_on_beside_a_stopped_writer(store: Store, child: Callable[[str, int], Child]) -> None:
    writer = child("alice", FOREVER)
    await eventually_async(partial(writer.has_acknowledged, 100), within_s=START_S)
    for _ in range(5):
        writer.process.send_signal(signal.SIGSTOP)
        before = await store.last_post_id()
        assert len(await store.posts_after(START, 50)) == 50
        assert len((await store.history((await store.users("", 1)).names[0])).posts) == 20
        writer.process.send_signal(signal.SIGCONT)
        await eventually_async(partial(_grew, store, before), within_s=15)


async def _grew(store: Store, before: PostId) -> bool:
    return await store.last_post_id() > before
