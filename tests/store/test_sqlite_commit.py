"""Group commit: what is acknowledged when, and what a failing disk does to it."""

import asyncio
from collections.abc import Iterator

import pytest

from snsnode.base.errors import Exhausted, Unavailable
from snsnode.base.ids import Epoch, PostId, RequestId, VmName
from snsnode.store import sqlite_reader, sqlite_writer
from snsnode.store.protocol import Posted
from snsnode.store.sqlite import SqliteStore
from tests.eventually import eventually_async
from tests.store.conftest import ALICE, BOB, OpenSqlite, make_users
from tests.store.faulty_disk import FaultyDisk, faulty_disk

R1 = RequestId("r1")
VM = VmName("vm2")


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with faulty_disk() as disk:
        yield disk


@pytest.fixture
async def store(disk: FaultyDisk, open_sqlite: OpenSqlite) -> SqliteStore:
    store = await open_sqlite()
    await make_users(store)
    return store


async def test_post_is_acknowledged_only_after_the_fsync(store: SqliteStore, disk: FaultyDisk) -> None:
    disk.let_go.clear()
    post = asyncio.create_task(store.post(ALICE, R1, "text"))
    await eventually_async(disk.held.is_set, within_s=15)
    done, _ = await asyncio.wait([post], timeout=0.2)
    assert not done
    assert await store.last_post_id() == 0  # Nor is it shown to anybody.
    disk.let_go.set()
    assert await post == Posted(PostId(1), (await store.posts_after(PostId(0), 1))[0].posted_at_ms)


async def test_failed_fsync_is_no_acknowledgement_and_a_repeat_stores_once(
    store: SqliteStore, disk: FaultyDisk
) -> None:
    disk.failing = True
    answers = await asyncio.gather(
        *(store.post(ALICE, RequestId(f"r{n}"), "text") for n in range(5)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {Exhausted}
    assert "SQLITE_IOERR_FSYNC" in str(answers[0])
    assert (await store.users("", 10)).names == (ALICE, BOB)
    disk.failing = False
    for n in range(5):
        await store.post(ALICE, RequestId(f"r{n}"), "text")
    assert len(await store.posts_after(PostId(0), 10)) == 5


async def test_failed_claim_is_said_to_every_write_until_one_succeeds(
    store: SqliteStore, disk: FaultyDisk
) -> None:
    """What is written before it would carry the epoch of nobody: the one it replaces may still write."""
    disk.failing = True
    with pytest.raises(Exhausted):
        await store.claim_epoch(VM, Epoch(1))
    disk.failing = False
    with pytest.raises(Exhausted, match="claim of an epoch is not settled"):
        await store.post(ALICE, R1, "text")
    assert (await store.users("", 10)).names == (ALICE, BOB)
    refused, claimed = await asyncio.gather(
        store.post(ALICE, R1, "text"), store.claim_epoch(VM, Epoch(1)), return_exceptions=True
    )
    assert isinstance(refused, Exhausted)
    assert claimed == 1
    assert (await store.post(ALICE, R1, "text")).post_id == 1


async def test_concurrent_posts_share_an_fsync(store: SqliteStore, disk: FaultyDisk) -> None:
    before = disk.log_syncs
    await asyncio.gather(*(store.post(ALICE, RequestId(f"r{n}"), "text") for n in range(640)))
    assert disk.log_syncs - before <= 10


async def test_batch_is_bounded(disk: FaultyDisk, open_sqlite: OpenSqlite) -> None:
    store = await open_sqlite(batch_max=10)
    await make_users(store)
    before = disk.log_syncs
    await asyncio.gather(*(store.post(ALICE, RequestId(f"r{n}"), "text") for n in range(100)))
    assert disk.log_syncs - before >= 10


async def test_too_many_waiting_writes_are_refused_and_the_rest_is_kept(
    store: SqliteStore, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "QUEUE_MAX", 10)
    disk.let_go.clear()
    first = asyncio.create_task(store.post(ALICE, R1, "text"))
    await eventually_async(disk.held.is_set, within_s=15)
    others = [asyncio.create_task(store.post(ALICE, RequestId(f"o{n}"), "text")) for n in range(15)]
    refused, _ = await asyncio.wait(others, timeout=0.1)
    assert len(refused) == 5
    for each in refused:
        assert isinstance(each.exception(), Unavailable)
    disk.let_go.set()
    await first
    await asyncio.gather(*(each for each in others if each not in refused))
    assert len(await store.posts_after(PostId(0), 100)) == 11


async def test_too_many_waiting_reads_are_refused(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_reader, "QUEUE_MAX", 0)
    with pytest.raises(Unavailable, match="reads are waiting already"):
        await store.last_post_id()
