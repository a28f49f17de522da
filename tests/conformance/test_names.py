"""Names that differ only in case: found, refused, or ambiguous; nobody who is there already is touched."""

import asyncio
import time

import pytest

from snsnode.base.errors import AlreadyDone, NotAllowed, NotFound
from snsnode.base.ids import ClientId, RequestId, UserName
from snsnode.store.protocol import Login, Store
from snsnode.store.sqlite import SqliteStore
from tests.conformance.conftest import OpenStore

ALICE, BOB = UserName("alice"), UserName("bob")
R1, R2, R3 = RequestId("r1"), RequestId("r2"), RequestId("r3")
LEASE_S = 60.0


def login(name: str) -> Login:
    return Login(UserName(name), ClientId(f"client-{name}"))


async def names(store: Store) -> tuple[UserName, ...]:
    return (await store.users("", 100)).names


async def test_new_name_that_differs_only_in_case_is_refused(store: Store) -> None:
    await store.login(login("anna"), LEASE_S)
    for live in (True, False):
        with pytest.raises(NotAllowed, match=r"'ANNA'.* user 'anna'.* log in as 'anna'"):
            await store.login(login("ANNA"), LEASE_S)
        assert await names(store) == ("anna",)
        if live:
            await store.logout(login("anna"))
    assert not await store.login(login("anna"), LEASE_S)
    assert not await store.login(login("anna2"), LEASE_S)


async def test_follow_ignores_case_where_that_leaves_one(store: Store) -> None:
    for name in ("alice", "bob"):
        await store.login(login(name), LEASE_S)
    await store.follow(ALICE, UserName("BoB"), R1)
    await store.follow(ALICE, UserName("BOB"), R1)  # the same request again
    assert (await store.followers(BOB, "", 10)).names == (ALICE,)
    with pytest.raises(AlreadyDone, match="already"):
        await store.follow(ALICE, BOB, R2)
    with pytest.raises(NotAllowed, match="yourself"):
        await store.follow(ALICE, UserName("ALICE"), R2)
    with pytest.raises(NotFound, match="there is no user 'BO'"):
        await store.follow(ALICE, UserName("BO"), R2)
    await store.unfollow(ALICE, UserName("BOB"), R3)
    assert (await store.followers(BOB, "", 10)).names == ()


async def test_of_many_who_take_one_name_in_different_cases_one_has_it(another: OpenStore) -> None:
    """Through two instances, as two masters."""
    stores = [await another(), await another()]
    spelled = ["carl", "Carl", "cArl", "caRl", "carL", "CARL"]
    done = await asyncio.gather(
        *(stores[n % 2].login(login(name), LEASE_S) for n, name in enumerate(spelled)), return_exceptions=True
    )
    assert sum(result is False for result in done) == 1
    assert all(result is False or isinstance(result, NotAllowed) for result in done)
    assert len(await names(stores[0])) == 1


async def test_names_that_were_there_before_stay_and_are_meant_exactly(store: Store) -> None:
    for name in ("alice", "Dora", "dora"):
        await _plant(store, name)
    for name in ("alice", "Dora", "dora"):
        assert not await store.login(login(name), LEASE_S)
    await store.follow(ALICE, UserName("Dora"), R1)
    assert (await store.followers(UserName("dora"), "", 10)).names == ()
    for verb in (store.follow, store.unfollow):
        with pytest.raises(NotFound, match=r"'DORA'.* several .* only in case"):
            await verb(ALICE, UserName("DORA"), R2)
    with pytest.raises(NotAllowed, match="only in case"):
        await store.login(login("DORA"), LEASE_S)
    assert await names(store) == ("Dora", "alice", "dora")


async def _plant(store: Store, name: str) -> None:
    """Add a user as a version did that took every name."""
    sql = f"INSERT INTO users (username, created_at_ms) VALUES ('{name}', 1)"
    if isinstance(store, SqliteStore):
        await store._writer.write(lambda db: db.execute(sql))
    else:
        await store._others.session.run(lambda db: db.execute(sql), time.monotonic() + 5)  # type: ignore[attr-defined]
