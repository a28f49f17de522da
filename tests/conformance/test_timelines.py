"""Timelines: the newest posts, only those made after the follow, and cursors without gaps."""

from snsnode.base.ids import PostId, RequestId, UserName
from snsnode.store.protocol import Store

People = tuple[UserName, UserName, UserName]


async def say(store: Store, username: UserName, *texts: str) -> None:
    for text in texts:
        await store.post(username, RequestId(f"post-{text}"), text)


async def seen(store: Store, username: UserName) -> list[str]:
    return [post.text for post in (await store.history(username)).posts]


async def test_last_20_of_22_and_only_since_the_follow(store: Store, people: People) -> None:
    u1, u2, u3 = people
    await store.follow(u2, u1, RequestId("f"))
    await say(store, u1, *(str(n) for n in range(1, 11)))
    await store.follow(u3, u1, RequestId("f"))
    await say(store, u1, *(str(n) for n in range(11, 23)))
    assert await seen(store, u2) == [str(n) for n in range(22, 2, -1)]
    assert await seen(store, u3) == [str(n) for n in range(22, 10, -1)]
    assert await seen(store, u1) == [str(n) for n in range(22, 2, -1)]


async def test_history_mixes_own_and_followed_newest_first(store: Store, people: People) -> None:
    alice, bob, carol = people
    await store.follow(alice, bob, RequestId("f"))
    await say(store, alice, "a1")
    await say(store, bob, "b1")
    await say(store, carol, "c1")
    await say(store, alice, "a2")
    history = await store.history(alice)
    assert [post.text for post in history.posts] == ["a2", "b1", "a1"]
    assert history.cursor == await store.last_post_id()
    assert [post.text for post in (await store.history(alice, limit=2)).posts] == ["a2", "b1"]


async def test_history_of_nobody_is_empty(store: Store, people: People) -> None:
    await say(store, people[0], "a1")
    history = await store.history(UserName("nobody"))
    assert history.posts == ()
    assert history.cursor == 1


async def test_follow_shows_nothing_older(store: Store, people: People) -> None:
    alice, bob, _ = people
    await say(store, bob, "before")
    await store.follow(alice, bob, RequestId("f1"))
    assert await seen(store, alice) == []
    assert await store.timeline_after(alice, PostId(0), 10) == []
    await say(store, bob, "after")
    assert await seen(store, alice) == ["after"]


async def test_following_again_starts_anew(store: Store, people: People) -> None:
    alice, bob, _ = people
    await store.follow(alice, bob, RequestId("f1"))
    await say(store, bob, "first")
    await store.unfollow(alice, bob, RequestId("f2"))
    assert await seen(store, alice) == []
    await say(store, bob, "between")
    await store.follow(alice, bob, RequestId("f3"))
    await say(store, bob, "second")
    assert await seen(store, alice) == ["second"]
    assert [post.text for post in await store.timeline_after(alice, PostId(0), 10)] == ["second"]


async def test_timeline_after_leaves_out_own_posts_and_strangers(store: Store, people: People) -> None:
    alice, bob, carol = people
    await store.follow(alice, bob, RequestId("f"))
    await say(store, alice, "own")
    await say(store, bob, "followed")
    await say(store, carol, "stranger")
    assert [post.text for post in await store.timeline_after(alice, PostId(0), 10)] == ["followed"]


async def test_timeline_after_goes_on_from_the_history_page_by_page(store: Store, people: People) -> None:
    alice, bob, carol = people
    await store.follow(alice, bob, RequestId("f1"))
    await store.follow(alice, carol, RequestId("f2"))
    await say(store, bob, "old")
    cursor = (await store.history(alice)).cursor
    for n in range(25):
        await say(store, (bob, carol)[n % 2], str(n))
    live: list[str] = []
    while page := await store.timeline_after(alice, cursor, 10):
        assert len(page) <= 10
        live += [post.text for post in page]
        cursor = page[-1].post_id
    assert live == [str(n) for n in range(25)]
