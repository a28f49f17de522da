"""Logins: one live client a name, leases, and clients that come back."""

import pytest

from snsnode.base.errors import AlreadyDone
from snsnode.base.ids import ClientId, UserName
from snsnode.store.protocol import Login, Store
from tests.conformance.conftest import OpenStore
from tests.eventually import eventually_async

ALICE = UserName("alice")
FIRST = Login(ALICE, ClientId("first"))
SECOND = Login(ALICE, ClientId("second"))
LONG_S = 60.0
SHORT_S = 0.05


async def test_first_login_makes_the_user(store: Store) -> None:
    assert (await store.users("", 10)).names == ()
    assert await store.login(FIRST, LONG_S) is False
    assert (await store.users("", 10)).names == (ALICE,)


async def test_second_live_client_is_refused_in_words(store: Store) -> None:
    await store.login(FIRST, LONG_S)
    with pytest.raises(AlreadyDone, match=r"cannot log in as 'alice': the name is in use by another live client"):
        await store.login(SECOND, LONG_S)
    assert await store.renew([FIRST, SECOND], LONG_S) == {SECOND}


async def test_same_client_comes_back_through_another_server(store: Store, another: OpenStore) -> None:
    await store.login(FIRST, LONG_S)
    assert await (await another()).login(FIRST, LONG_S) is True


async def test_expired_name_goes_to_another_client(store: Store) -> None:
    await store.login(FIRST, SHORT_S)

    async def taken() -> bool:
        try:
            return not await store.login(SECOND, LONG_S)
        except AlreadyDone:
            return False

    assert await eventually_async(taken, within_s=15)
    assert await store.renew([FIRST], LONG_S) == {FIRST}
    with pytest.raises(AlreadyDone):
        await store.login(FIRST, LONG_S)


async def test_expired_login_that_nobody_took_is_resumed(store: Store) -> None:
    await store.login(FIRST, 0)
    assert await store.login(FIRST, 0) is True
    assert await store.renew([FIRST], LONG_S) == frozenset()
    with pytest.raises(AlreadyDone):
        await store.login(SECOND, LONG_S)


async def test_renewal_reports_each_login_that_lost_its_name(store: Store) -> None:
    bob, stranger = Login(UserName("bob"), ClientId("b")), Login(UserName("zoe"), ClientId("z"))
    await store.login(FIRST, LONG_S)
    await store.login(bob, LONG_S)
    assert await store.renew([FIRST, SECOND, bob, stranger], LONG_S) == {SECOND, stranger}
    assert await store.renew([], LONG_S) == frozenset()
    assert (await store.users("", 10)).names == (ALICE, bob.username)


async def test_renewal_extends_the_lease(store: Store) -> None:
    await store.login(FIRST, 0)
    await store.renew([FIRST], LONG_S)
    with pytest.raises(AlreadyDone):
        await store.login(SECOND, LONG_S)


async def test_logout_frees_the_name_at_once(store: Store) -> None:
    await store.login(FIRST, LONG_S)
    await store.logout(FIRST)
    assert await store.login(SECOND, LONG_S) is False


async def test_logout_by_another_client_does_nothing(store: Store) -> None:
    await store.login(FIRST, LONG_S)
    await store.logout(SECOND)
    assert await store.login(FIRST, LONG_S) is True


async def test_login_after_logout_is_a_new_one(store: Store) -> None:
    await store.login(FIRST, LONG_S)
    await store.logout(FIRST)
    await store.logout(FIRST)
    assert await store.login(FIRST, LONG_S) is False
