"""The hint that posts were committed, here or elsewhere."""

from snsnode.base.ids import PostId, RequestId, UserName
from snsnode.store.protocol import Store
from tests.conformance.conftest import OpenStore
from tests.eventually import eventually_async

People = tuple[UserName, UserName, UserName]
SOON_S = 10.0


async def test_own_posts_are_hinted_at(store: Store, people: People) -> None:
    hints: list[bool] = []
    store.watch(lambda: hints.append(True))
    await store.post(people[0], RequestId("r1"), "text")
    await eventually_async(lambda: hints, within_s=SOON_S)


async def test_posts_of_another_instance_are_hinted_at_to_every_watcher(
    store: Store, another: OpenStore, people: People
) -> None:
    other = await another()
    first: list[bool] = []
    second: list[bool] = []
    store.watch(lambda: first.append(True))
    store.watch(lambda: second.append(True))
    await other.post(people[0], RequestId("r1"), "text")
    await eventually_async(lambda: first and second, within_s=SOON_S)
    assert await store.last_post_id() == 1


async def test_watch_after_another_ended_hints_too(store: Store, another: OpenStore, people: People) -> None:
    other = await another()
    store.watch(lambda: None)()
    hints: list[bool] = []
    store.watch(lambda: hints.append(True))
    await other.post(people[0], RequestId("r1"), "text")
    await eventually_async(lambda: hints, within_s=SOON_S)


async def test_watcher_that_left_is_called_no_more(store: Store, another: OpenStore, people: People) -> None:
    other = await another()
    gone: list[bool] = []
    staying: list[bool] = []
    end = store.watch(lambda: gone.append(True))
    store.watch(lambda: staying.append(True))
    end()
    end()
    await other.post(people[0], RequestId("r1"), "text")
    await store.post(people[0], RequestId("r2"), "text")
    await eventually_async(lambda: staying, within_s=SOON_S)
    assert not gone


async def test_following_every_hint_reads_every_post_once(
    store: Store, another: OpenStore, people: People
) -> None:
    other = await another()
    hinted = [True]
    store.watch(lambda: hinted.append(True))
    seen: list[str] = []
    cursor = PostId(0)
    for n in range(30):
        await (store, other)[n % 2].post(people[0], RequestId(f"r{n}"), str(n))

        def hint() -> bool:
            return bool(hinted)

        await eventually_async(hint, within_s=SOON_S, every_s=0.001)
        while hinted:
            hinted.clear()
            for post in await store.posts_after(cursor, 100):
                seen.append(post.text)
                cursor = post.post_id
    await eventually_async(lambda: len(seen) == 30 or hinted, within_s=SOON_S)
    seen += [post.text for post in await store.posts_after(cursor, 100)]
    assert seen == [str(n) for n in range(30)]
