"""Fencing: what a replaced incarnation of a server may no longer do."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from snsnode.base.errors import Fenced
from snsnode.base.ids import ClientId, Epoch, PostId, RequestId, UserName, VmName
from snsnode.store.protocol import Login, Store
from tests.conformance.conftest import OpenStore

VM2, VM3 = VmName("vm2"), VmName("vm3")
ALICE, BOB = UserName("alice"), UserName("bob")
LOGIN = Login(ALICE, ClientId("client-of-alice"))
R1 = RequestId("r1")

WRITES: dict[str, Callable[[Store], Awaitable[object]]] = {
    "login": lambda store: store.login(LOGIN, 60),
    "renew": lambda store: store.renew([LOGIN], 60),
    "logout": lambda store: store.logout(LOGIN),
    "follow": lambda store: store.follow(ALICE, BOB, R1),
    "unfollow": lambda store: store.unfollow(ALICE, BOB, R1),
    "post": lambda store: store.post(ALICE, R1, "text"),
}


async def test_epoch_is_one_more_than_the_stored_or_as_asked(store: Store, another: OpenStore) -> None:
    assert await store.claim_epoch(VM2, Epoch(0)) == 1
    assert await store.claim_epoch(VM2, Epoch(1)) == 2
    assert await (await another()).claim_epoch(VM2, Epoch(7)) == 7
    assert await (await another()).claim_epoch(VM2, Epoch(3)) == 8
    assert await store.claim_epoch(VM3, Epoch(2)) == 2


async def test_concurrent_claims_get_different_epochs(another: OpenStore) -> None:
    stores = [await another() for _ in range(4)]
    epochs = await asyncio.gather(*(store.claim_epoch(VM2, Epoch(1)) for store in stores for _ in range(5)))
    assert sorted(epochs) == list(range(1, 21))


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
async def test_write_of_a_replaced_incarnation_is_fenced(
    store: Store,
    another: OpenStore,
    people: tuple[UserName, ...],
    write: Callable[[Store], Awaitable[object]],
) -> None:
    stale, new = await another(), await another()
    await stale.claim_epoch(VM2, Epoch(1))
    await stale.post(BOB, R1, "while it was the newest")
    await new.claim_epoch(VM2, Epoch(1))
    with pytest.raises(Fenced, match="epoch 1 of vm2: epoch 2 has replaced it"):
        await write(stale)
    await new.post(BOB, RequestId("r2"), "the newest goes on")
    await store.post(BOB, RequestId("r3"), "and who never claimed is not checked")
    assert await stale.last_post_id() == 3


async def test_queued_batch_of_a_replaced_incarnation_is_refused_as_a_whole(
    store: Store, another: OpenStore, people: tuple[UserName, ...]
) -> None:
    stale = await another()
    await stale.claim_epoch(VM2, Epoch(1))
    await store.claim_epoch(VM2, Epoch(1))
    answers = await asyncio.gather(
        *(stale.post(ALICE, RequestId(f"r{n}"), "text") for n in range(50)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {Fenced}
    assert await store.posts_after(PostId(0), 10) == []


async def test_epoch_of_another_server_fences_nobody(
    store: Store, another: OpenStore, people: tuple[UserName, ...]
) -> None:
    other = await another()
    await store.claim_epoch(VM2, Epoch(1))
    await other.claim_epoch(VM3, Epoch(9))
    await store.post(ALICE, R1, "text")


async def test_fenced_instance_writes_again_after_a_claim(
    store: Store, another: OpenStore, people: tuple[UserName, ...]
) -> None:
    await store.claim_epoch(VM2, Epoch(1))
    await (await another()).claim_epoch(VM2, Epoch(1))
    assert await store.claim_epoch(VM2, Epoch(1)) == 3
    await store.post(ALICE, R1, "text")
