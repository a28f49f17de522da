"""What happens when clocks jump, machines reboot and days pass."""

from pathlib import Path

import apsw
import pytest

from snsnode.base.errors import AlreadyDone
from snsnode.base.ids import ClientId, PostId, RequestId
from snsnode.store.protocol import Login
from tests.store.conftest import ALICE, BOB, Hands, OpenSqlite, make_users

FIRST = Login(ALICE, ClientId("first"))
SECOND = Login(ALICE, ClientId("second"))
DAY_MS = 24 * 3600 * 1000


async def test_time_of_posts_never_falls_when_the_clock_does(open_sqlite: OpenSqlite) -> None:
    hands = Hands()
    store = await open_sqlite(clock=hands.clock())
    await make_users(store)
    times: list[int] = []
    for number, step_ms in enumerate((0, 5, -3_600_000, 1, 3_600_000)):
        hands.wall_ms += step_ms
        times.append((await store.post(ALICE, RequestId(f"r{number}"), "text")).posted_at_ms)
    start = times[0]
    assert times == [start, start + 5, start + 5, start + 5, start + 6]
    assert [post.posted_at_ms for post in await store.posts_after(PostId(0), 10)] == times


@pytest.mark.parametrize("jump_ms", [-DAY_MS, DAY_MS])
async def test_lease_does_not_follow_the_wall_clock(open_sqlite: OpenSqlite, jump_ms: int) -> None:
    hands = Hands()
    store = await open_sqlite(clock=hands.clock())
    await store.login(FIRST, lease_s=10)
    hands.wall_ms += jump_ms
    hands.boot_ms += 9_999
    with pytest.raises(AlreadyDone):
        await store.login(SECOND, lease_s=10)
    hands.boot_ms += 1
    assert await store.login(SECOND, lease_s=10) is False


async def test_reboot_frees_every_name_and_resumes_every_client(open_sqlite: OpenSqlite) -> None:
    store = await open_sqlite(clock=Hands(boot_ms=1_000_000).clock())
    await store.login(FIRST, lease_s=10_000)
    await store.login(Login(BOB, ClientId("bobs")), lease_s=10_000)
    await store.close()
    store = await open_sqlite(clock=Hands(boot_ms=1_000, boot_id="boot-2").clock())
    assert await store.login(Login(BOB, ClientId("bobs")), lease_s=10) is True
    assert await store.login(SECOND, lease_s=10) is False


async def test_requests_of_follows_are_forgotten_after_a_day(open_sqlite: OpenSqlite, path: Path) -> None:
    hands = Hands()
    store = await open_sqlite(clock=hands.clock())
    await make_users(store)
    for number in range(5):
        await store.follow(ALICE, BOB, RequestId(f"f{number}"))
        await store.unfollow(ALICE, BOB, RequestId(f"u{number}"))
    hands.wall_ms += DAY_MS
    await store.follow(ALICE, BOB, RequestId("f4"))  # As old as may be: still a repeat, and answered as such.
    assert (await store.followers(BOB, "", 10)).names == ()
    hands.wall_ms += 1
    for number in range(3):
        await store.follow(ALICE, BOB, RequestId(f"later-f{number}"))
        await store.unfollow(ALICE, BOB, RequestId(f"later-u{number}"))
    await store.close()
    db = apsw.Connection(str(path))
    kept = {name for (name,) in db.execute("SELECT request_id FROM requests").fetchall()}
    db.close()
    assert kept == {f"later-{kind}{number}" for kind in "fu" for number in range(3)}
