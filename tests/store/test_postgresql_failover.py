"""A primary and its synchronous standby: killed, hung and promoted under load.

Nothing acknowledged is lost, nothing is there twice, and whoever follows a cursor sees everything in order.
"""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from snsnode.base.ids import ClientId, Epoch, PostId, RequestId, UserName, VmName
from snsnode.store.postgresql import PostgresqlStore
from snsnode.store.protocol import Login
from tests.bounds import deadline
from tests.eventually import eventually, eventually_async
from tests.postgresql_rig import Postgresql, both_url, running_pair
from tests.store.load import Load, all_posts, posting

pytestmark = pytest.mark.chaos

ALICE = UserName("alice")
# Protection against hanging: measured are 0.1 s and 2.2 s (docs/operations.md).
SERVED_S = 6.0

Pair = tuple[Postgresql, Postgresql]


@pytest.fixture(autouse=True)
def bounded_in_time() -> Iterator[None]:
    """Two servers take their time to start, beside other tests."""
    with deadline(120):
        yield


@pytest.fixture
def pair() -> Iterator[Pair]:
    with running_pair() as (primary, standby):
        yield primary, standby


@pytest.fixture
def url(pair: Pair) -> str:
    return both_url(*pair, database=pair[0].make_database())


@pytest.fixture
async def stores(url: str, tmp_path: Path) -> AsyncIterator[list[PostgresqlStore]]:
    """Two that serve at once, as masters do."""
    opened = [await PostgresqlStore.open(url, tmp_path) for _ in range(2)]
    for number, store in enumerate(opened):
        await store.claim_epoch(VmName(f"vm{number}"), Epoch(1))
    yield opened
    for store in opened:
        await store.close()


async def promoted(load: Load, standby: Postgresql) -> None:
    """Promote the standby, and post on for a while."""
    moment_s = time.monotonic()
    await asyncio.to_thread(standby.promote)
    back_s = time.monotonic()
    await eventually_async(lambda: load.served_since(back_s), SERVED_S)
    print(f"promoted in {back_s - moment_s:.2f} s, served {load.first_after(back_s):.3f} s later")
    await asyncio.sleep(0.3)


async def test_primary_killed_and_its_standby_promoted(pair: Pair, stores: list[PostgresqlStore]) -> None:
    primary, standby = pair
    async with posting(stores) as load:
        await eventually_async(lambda: len(load.acknowledged) > 500, 20)
        await asyncio.to_thread(primary.kill)
        await promoted(load, standby)
    await load.check(stores[0])


async def test_primary_hung_and_its_standby_promoted(pair: Pair, stores: list[PostgresqlStore]) -> None:
    primary, standby = pair
    async with posting(stores) as load:
        await eventually_async(lambda: len(load.acknowledged) > 500, 20)
        hung_s = time.monotonic()
        primary.hang()
        await promoted(load, standby)
        print(f"served {load.first_after(hung_s + 0.05):.2f} s after it hung")
        # It comes back, says that it takes writes, and is never gone back to.
        primary.thaw()
        for store in stores:
            for lane in (store._posts, store._others):
                lane.session.drop()
        await asyncio.sleep(0.5)
    await load.check(stores[1])
    assert {row.post_id for row in await all_posts(stores[0])} >= set(load.acknowledged)


async def test_primary_that_only_paused_goes_on(pair: Pair, stores: list[PostgresqlStore]) -> None:
    primary, _ = pair
    async with posting(stores) as load:
        await eventually_async(lambda: len(load.acknowledged) > 200, 20)
        primary.hang()
        await asyncio.sleep(2.5)  # longer than a command may take
        primary.thaw()
        back_s = time.monotonic()
        await eventually_async(lambda: load.served_since(back_s), SERVED_S)
        await asyncio.sleep(0.2)
    await load.check(stores[0])


async def test_standby_that_is_away_holds_up_writes_and_no_reads(
    pair: Pair, stores: list[PostgresqlStore]
) -> None:
    _, standby = pair
    async with posting(stores) as load:
        await eventually_async(lambda: len(load.acknowledged) > 200, 20)
        standby.hang()
        await asyncio.sleep(0.3)
        before = len(load.acknowledged)
        assert len(await stores[0].posts_after(PostId(0), 50)) == 50
        await asyncio.sleep(2.5)
        assert len(load.acknowledged) == before
        standby.thaw()
        back_s = time.monotonic()
        await eventually_async(lambda: load.served_since(back_s), SERVED_S)
    await load.check(stores[0])


async def test_cancelled_wait_for_the_standby_acknowledges_nothing(
    pair: Pair, stores: list[PostgresqlStore]
) -> None:
    primary, standby = pair
    (store, other), database = stores, "test0"
    await store.login(Login(ALICE, ClientId("c")), 60)
    standby.hang()
    post = asyncio.create_task(store.post(ALICE, RequestId("r1"), "text"))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%sns_post%'"
    await eventually_async(lambda: primary.psql(waiting, database) == "1", 5)
    primary.psql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", database)
    # The server called it a success, and shows it; but the standby does not have it.
    await eventually_async(lambda: primary.psql("SELECT count(*) FROM posts", database) == "1", 5)
    await asyncio.sleep(0.5)
    assert not post.done()
    # Neither is a repeat of it acknowledged, for which nothing is written.
    repeat = asyncio.create_task(other.post(ALICE, RequestId("r1"), "text"))
    await asyncio.sleep(0.5)
    assert not repeat.done()
    standby.thaw()
    assert await post == await repeat
    # It has the post on its disk, and shows it once that is replayed.
    await eventually_async(lambda: standby.psql("SELECT count(*) FROM posts", database) == "1", 10)


async def test_primary_and_master_killed_at_once(
    pair: Pair, url: str, stores: list[PostgresqlStore], tmp_path: Path
) -> None:
    primary, standby = pair
    output = tmp_path / "acknowledged"
    command = [sys.executable, "-m", "tests.conformance.writer", url, str(tmp_path), "alice", "1000000"]
    with output.open("wb") as file:
        master = subprocess.Popen(command, stdout=file)  # noqa: ASYNC220 - a process that is to be killed
    try:
        await asyncio.to_thread(eventually, lambda: output.read_bytes().count(b"\n") > 300, 20)
        primary.hang()
        master.send_signal(signal.SIGKILL)
        master.wait(timeout=5)
        primary.kill()
    finally:
        master.kill()
    await asyncio.to_thread(standby.promote)
    acknowledged = dict(line.split() for line in output.read_text().rpartition("\n")[0].splitlines())
    posts = await all_posts(stores[0])
    assert acknowledged.items() <= {str(post.post_id): post.text for post in posts}.items()
    assert len({post.text for post in posts}) == len(posts)
    await stores[0].post(ALICE, RequestId("later"), "later")
