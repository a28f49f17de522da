"""Posts: acknowledged once for each request id, in the order of their ids, and alone in their failure."""

import asyncio

import pytest

from snsnode.base.errors import AlreadyDone, InvalidInput, Unavailable
from snsnode.base.ids import ClientId, PostId, RequestId, UserName
from snsnode.store.protocol import Login, NoWriter, Posted, Store
from tests.conformance.conftest import OpenStore

People = tuple[UserName, UserName, UserName]
R1, R2 = RequestId("r1"), RequestId("r2")


async def test_empty_store_has_no_posts(store: Store) -> None:
    assert await store.last_post_id() == 0
    assert await store.posts_after(PostId(0), 10) == []


async def test_post_is_found_by_all_as_it_was_acknowledged(
    store: Store, another: OpenStore, people: People
) -> None:
    text = "naïve ☕\n\tsecond line 'quoted' \\ %s; DROP TABLE posts; --"
    posted = await store.post(people[0], R1, text)
    for reader in (store, await another()):
        (post,) = await reader.posts_after(PostId(0), 10)
        assert (post.post_id, post.posted_at_ms) == (posted.post_id, posted.posted_at_ms)
        assert (post.username, post.text) == (people[0], text)
        assert await reader.last_post_id() == posted.post_id


async def test_everything_is_there_after_reopening(store: Store, another: OpenStore, people: People) -> None:
    alice, bob, _ = people
    await store.follow(alice, bob, R1)
    await store.post(bob, R1, "kept")
    await store.close()
    store = await another()
    assert (await store.users("", 10)).names == people
    assert (await store.followers(bob, "", 10)).names == (alice,)
    assert [post.text for post in (await store.history(alice)).posts] == ["kept"]


async def test_repeated_request_gets_the_first_answer(store: Store, another: OpenStore, people: People) -> None:
    first = await store.post(people[0], R1, "text")
    await store.post(people[0], R2, "text")
    assert await store.post(people[0], R1, "text") == first
    assert await (await another()).post(people[0], R1, "text") == first
    assert len(await store.posts_after(PostId(0), 10)) == 2


async def test_repeat_in_the_same_batch_is_stored_once(store: Store, people: People) -> None:
    answers = await asyncio.gather(*(store.post(people[0], R1, "text") for _ in range(20)))
    assert len(set(answers)) == 1
    assert len(await store.posts_after(PostId(0), 10)) == 1


async def test_request_id_with_another_text_is_refused(store: Store, people: People) -> None:
    await store.post(people[0], R1, "text")
    with pytest.raises(AlreadyDone, match="cannot post: the request id 'r1' was used for something else"):
        await store.post(people[0], R1, "other")
    await store.post(people[1], R1, "other")  # Request ids are each user's own.
    assert [post.text for post in await store.posts_after(PostId(0), 10)] == ["text", "other"]


async def test_post_of_an_unknown_user_is_refused(store: Store) -> None:
    with pytest.raises(NoWriter, match="cannot post: there is no user 'nobody'"):
        await store.post(UserName("nobody"), R1, "text")


async def test_bad_rows_fail_alone_in_their_batch(store: Store, people: People) -> None:
    alice, bob, _ = people
    bad = "\ud800"  # No encoding of Unicode can hold it.
    answers = await asyncio.gather(
        store.post(alice, RequestId("good-1"), "one"),
        store.post(alice, RequestId("bad"), bad),
        store.post(UserName("nobody"), RequestId("unknown"), "text"),
        store.follow(bob, alice, R1),
        store.follow(bob, alice, R2),
        store.post(alice, RequestId("good-2"), "two"),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [
        Posted,
        InvalidInput,
        NoWriter,
        type(None),
        AlreadyDone,
        Posted,
    ]
    assert [post.text for post in await store.posts_after(PostId(0), 10)] == ["one", "two"]
    await store.unfollow(bob, alice, R2)  # The refused follow left no trace of its request id.


async def test_operation_that_fails_half_way_is_taken_back(store: Store, people: People) -> None:
    answers = await asyncio.gather(
        store.post(people[0], R1, "one"),
        store.login(Login(UserName("zoe"), ClientId("\ud800")), 60),
        store.post(people[0], R2, "two"),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [Posted, InvalidInput, Posted]
    assert (await store.users("", 10)).names == people


async def test_ids_rise_in_order_of_acknowledgement_and_time_never_falls(store: Store, people: People) -> None:
    posted = [await store.post(people[n % 3], RequestId(f"r{n}"), "text") for n in range(20)]
    assert posted == sorted(posted, key=lambda each: (each.post_id, each.posted_at_ms))
    assert [post.post_id for post in await store.posts_after(PostId(0), 50)] == [each.post_id for each in posted]


async def test_posts_after_pages_without_gap_or_overlap(store: Store, people: People) -> None:
    await asyncio.gather(*(store.post(people[0], RequestId(f"r{n}"), f"{n}") for n in range(25)))
    seen: list[str] = []
    cursor = PostId(0)
    while page := await store.posts_after(cursor, 10):
        assert len(page) <= 10
        seen += [post.text for post in page]
        cursor = page[-1].post_id
    assert sorted(seen, key=int) == [str(n) for n in range(25)]


async def test_cancelled_post_may_be_repeated(store: Store, people: People) -> None:
    task = asyncio.create_task(store.post(people[0], R1, "text"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.post(people[0], R1, "text")
    assert len(await store.posts_after(PostId(0), 10)) == 1


async def test_close_finishes_what_is_queued_and_may_be_repeated(
    store: Store, another: OpenStore, people: People
) -> None:
    posts = [asyncio.create_task(store.post(people[0], RequestId(f"r{n}"), "text")) for n in range(600)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    await store.close()
    assert len({posted.post_id for posted in await asyncio.gather(*posts)}) == 600
    with pytest.raises(Unavailable, match="closed"):
        await store.post(people[0], R1, "late")
    with pytest.raises(Unavailable, match="closed"):
        await store.last_post_id()
    assert len(await (await another()).posts_after(PostId(0), 1000)) == 600
