"""LISTEN as a hint: live push across servers, and what was missed while the listener was away."""

import asyncio
import contextlib
import signal

import pytest

from snsnode.base.ids import RequestId
from snsnode.node.process import identify, send_signal
from snsnode.social.hub import Hub
from snsnode.store import postgresql_listen
from tests.eventually import eventually_async
from tests.postgresql_rig import Postgresql
from tests.store.conftest import ALICE, BOB, OpenPostgresql, make_users

SOON_S = 10.0
HUNG_S = 20.0
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND query ILIKE 'LISTEN%'
"""
LISTENER = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'"
LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'"


async def test_lost_listener_is_replaced_and_catches_up(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    store, other = await open_postgresql(database), await open_postgresql(database)
    await make_users(store)
    hints: list[bool] = []
    store.watch(lambda: hints.append(True))
    await eventually_async(lambda: postgresql.psql(LISTENERS, database) == "1", SOON_S)
    postgresql.psql(CUT, database)
    hints.clear()
    # Nobody listens now, and this post's notice reaches nobody; that it listens again is a hint by itself.
    await other.post(ALICE, RequestId("r1"), "text")
    await eventually_async(lambda: hints, SOON_S)
    hints.clear()
    await eventually_async(lambda: postgresql.psql(LISTENERS, database) == "1", SOON_S)
    hints.clear()
    await other.post(ALICE, RequestId("r2"), "text")
    await eventually_async(lambda: hints, SOON_S)


async def test_listener_that_hangs_is_noticed(
    postgresql: Postgresql,
    database: str,
    open_postgresql: OpenPostgresql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgresql_listen, "PING_EVERY_S", 0.05)
    store = await open_postgresql(database)
    hints: list[bool] = []
    store.watch(lambda: hints.append(True))
    await eventually_async(lambda: postgresql.psql(LISTENERS, database) == "1" or hints, SOON_S)
    session = store._listener._session
    first = await session.open()
    frozen = identify(int(postgresql.psql(LISTENER, database)))
    assert frozen is not None and send_signal(frozen, signal.SIGSTOP)
    try:
        await eventually_async(lambda: first.is_closed(), HUNG_S)
        hints.clear()
        await eventually_async(lambda: hints, SOON_S)  # that it listens again
        assert await session.open() is not first
        await eventually_async(lambda: postgresql.psql(LISTENERS, database) == "2", SOON_S)
    finally:
        send_signal(frozen, signal.SIGCONT)


async def test_posts_on_one_server_appear_on_timelines_open_at_another(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    here, there = await open_postgresql(database), await open_postgresql(database)
    await make_users(here)
    await here.follow(BOB, ALICE, RequestId("f"))
    hub = Hub(there)
    woken = asyncio.Event()
    feed = hub.subscribe(BOB, woken.set)
    feed.start(await there.last_post_id())
    pushing = asyncio.create_task(hub.run())
    seen: list[str] = []
    try:
        for n in range(30):
            await here.post(ALICE, RequestId(f"r{n}"), str(n))
            if n == 15:
                postgresql.psql(CUT, database)

        async def all_seen() -> bool:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await woken.wait()
            woken.clear()
            seen.extend([post.text for post in await feed.take()])
            return len(seen) == 30

        await eventually_async(all_seen, SOON_S)
    finally:
        pushing.cancel()
        await asyncio.wait((pushing,))
    assert seen == [str(n) for n in range(30)]


async def test_listener_outlives_a_fault_of_its_own(
    postgresql: Postgresql,
    database: str,
    open_postgresql: OpenPostgresql,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = await open_postgresql(database)
    listen, tries = store._listener._listen, 0

    async def broken_at_first() -> asyncio.Event:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("broken")
        return await listen()

    monkeypatch.setattr(store._listener, "_listen", broken_at_first)
    store.watch(lambda: None)
    await eventually_async(lambda: postgresql.psql(LISTENERS, database) == "1", SOON_S)
    assert "looking each second: broken" in caplog.text
