"""Follow and unfollow: what is refused, what is repeated, and whom a post reaches."""

import pytest

from snsnode.base.errors import AlreadyDone, NotAllowed, NotFound
from snsnode.base.ids import PostId, RequestId, UserName
from snsnode.store.protocol import NoWriter, Post, Store

People = tuple[UserName, UserName, UserName]
R1, R2, R3 = RequestId("r1"), RequestId("r2"), RequestId("r3")


async def test_follower_is_listed(store: Store, people: People) -> None:
    alice, bob, carol = people
    await store.follow(carol, bob, R1)
    await store.follow(alice, bob, R1)
    assert (await store.followers(bob, "", 10)).names == (alice, carol)
    assert (await store.followers(alice, "", 10)).names == ()


async def test_following_oneself_is_refused(store: Store, people: People) -> None:
    with pytest.raises(NotAllowed, match="cannot follow 'alice': that is yourself"):
        await store.follow(people[0], people[0], R1)


async def test_following_an_unknown_user_is_refused(store: Store, people: People) -> None:
    with pytest.raises(NotFound, match="cannot follow 'nobody': there is no user 'nobody'"):
        await store.follow(people[0], UserName("nobody"), R1)
    with pytest.raises(NoWriter, match="there is no user 'nobody'"):
        await store.follow(UserName("nobody"), people[0], R1)


async def test_following_twice_is_refused(store: Store, people: People) -> None:
    alice, bob, _ = people
    await store.follow(alice, bob, R1)
    with pytest.raises(AlreadyDone, match="cannot follow 'bob': you follow this user already"):
        await store.follow(alice, bob, R2)


async def test_unfollowing_is_refused_where_it_makes_no_sense(store: Store, people: People) -> None:
    alice, bob, _ = people
    with pytest.raises(NotAllowed, match="cannot unfollow 'bob': you do not follow this user"):
        await store.unfollow(alice, bob, R1)
    with pytest.raises(NotFound, match="cannot unfollow 'nobody': there is no user 'nobody'"):
        await store.unfollow(alice, UserName("nobody"), R2)
    with pytest.raises(NotAllowed):
        await store.unfollow(alice, alice, R3)


async def test_repeated_follow_is_answered_as_the_first(store: Store, people: People) -> None:
    alice, bob, _ = people
    await store.follow(alice, bob, R1)
    await store.follow(alice, bob, R1)
    await store.unfollow(alice, bob, R2)
    await store.unfollow(alice, bob, R2)
    await store.follow(alice, bob, R1)  # A late repeat of the first changes nothing any more.
    assert (await store.followers(bob, "", 10)).names == ()


async def test_repeat_does_not_move_the_start_of_the_follow(store: Store, people: People) -> None:
    alice, bob, _ = people
    await store.follow(alice, bob, R1)
    await store.post(bob, R1, "seen")
    await store.follow(alice, bob, R1)
    assert [post.text for post in (await store.history(alice)).posts] == ["seen"]


async def test_refused_follow_leaves_its_request_id_free(store: Store, people: People) -> None:
    alice, bob, carol = people
    with pytest.raises(NotFound):
        await store.follow(alice, UserName("nobody"), R1)
    await store.follow(alice, bob, R1)
    await store.follow(carol, bob, R1)  # Request ids are each user's own.
    assert (await store.followers(bob, "", 10)).names == (alice, carol)


async def test_request_id_used_for_something_else_is_refused(store: Store, people: People) -> None:
    alice, bob, carol = people
    await store.follow(alice, bob, R1)
    await store.post(alice, R2, "text")
    with pytest.raises(AlreadyDone, match="the request id 'r1' was used for something else"):
        await store.follow(alice, carol, R1)
    with pytest.raises(AlreadyDone, match="the request id 'r1' was used"):
        await store.unfollow(alice, bob, R1)
    with pytest.raises(AlreadyDone, match="the request id 'r2' was used"):
        await store.follow(alice, carol, R2)
    with pytest.raises(AlreadyDone, match="the request id 'r1' was used"):
        await store.post(alice, R1, "text")
    assert (await store.followers(carol, "", 10)).names == ()
    assert await store.last_post_id() == 1


async def test_audience_is_who_followed_before_the_post(store: Store, people: People) -> None:
    alice, bob, carol = people
    await store.follow(alice, bob, R1)
    posted = await store.post(bob, R1, "text")
    await store.follow(carol, bob, R1)
    post = Post(posted.post_id, bob, posted.posted_at_ms, "text")
    later = Post(PostId(posted.post_id + 1), bob, posted.posted_at_ms, "later")
    assert await store.audience(post, [alice, bob, carol, UserName("nobody")]) == {alice}
    assert await store.audience(later, [carol, alice]) == {alice, carol}
    assert await store.audience(later, [carol]) == {carol}
    assert await store.audience(later, []) == frozenset()
