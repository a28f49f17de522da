"""Names in pages, by the last name of the page before."""

import pytest

from snsnode.base.ids import ClientId, RequestId, UserName
from snsnode.store.protocol import Login, Page, Store

# By code point, as every engine must sort: capitals come first, whatever the locale.
NAMES = tuple(UserName(name) for name in ("Zoe", "a", "a-b", "a.b", "aC", "a_b", "ab", "b"))


@pytest.fixture(autouse=True)
async def crowd(store: Store) -> None:
    for name in reversed(NAMES):
        await store.login(Login(name, ClientId("client")), 60)
    for name in NAMES[1:]:
        await store.follow(name, NAMES[0], RequestId("f"))


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 9])
async def test_users_come_in_pages(store: Store, limit: int) -> None:
    names: list[UserName] = []
    more = True
    while more:
        page = await store.users(names[-1] if names else "", limit)
        assert 1 <= len(page.names) <= limit
        names, more = [*names, *page.names], page.more
    assert tuple(names) == NAMES


async def test_followers_come_in_pages(store: Store) -> None:
    assert await store.followers(NAMES[0], "", 3) == Page(NAMES[1:4], more=True)
    assert await store.followers(NAMES[0], NAMES[3], 4) == Page(NAMES[4:8], more=False)
    assert await store.followers(NAMES[0], NAMES[7], 4) == Page((), more=False)


async def test_both_pages_at_once_are_those_of_each(store: Store) -> None:
    for users_after, followers_after in (("", ""), (NAMES[2], NAMES[5]), (NAMES[-1], NAMES[-1])):
        assert await store.pages(NAMES[0], users_after, followers_after, 3) == (
            await store.users(users_after, 3),
            await store.followers(NAMES[0], followers_after, 3),
        )
    assert await store.users("zzz", 5) == Page((), more=False)
