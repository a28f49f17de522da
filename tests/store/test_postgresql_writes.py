"""Group commit over PostgreSQL: the order of ids, bad rows, repeats and replaced incarnations."""

import asyncio
import contextlib
import os

import pytest

from snsnode.base.errors import AlreadyDone, Fenced, InvalidInput, Unavailable
from snsnode.base.ids import ClientId, Epoch, PostId, RequestId, UserName, VmName, new_request_id
from snsnode.store import postgresql_session, postgresql_writer
from snsnode.store.postgresql import PostgresqlStore
from snsnode.store.postgresql_session import Session
from snsnode.store.protocol import Login, Post, Posted
from tests.eventually import eventually_async
from tests.postgresql_rig import Postgresql
from tests.store.conftest import ALICE, BOB, OpenPostgresql, make_users

VM = VmName("vm2")

# A transaction whose post is "slow" commits half a second after it has its id.
SLOW_COMMIT = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON posts DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.text = 'slow') EXECUTE FUNCTION slow();
"""

CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def texts_by_cursor(store: PostgresqlStore, posts: "list[asyncio.Task[Posted]]") -> list[str]:
    """Return what a reader sees that follows one cursor until the posts are acknowledged, and a last time."""
    seen: list[Post] = []
    ended = False
    while not ended:
        ended = all(task.done() for task in posts)
        seen += await store.posts_after(seen[-1].post_id if seen else PostId(0), 100)
    return [post.text for post in seen]


async def out_of_order(store: PostgresqlStore, other: PostgresqlStore) -> list[str]:
    """Post "slow" through one, then "fast" through the other, and return what a following reader sees."""
    await make_users(store)
    slow = asyncio.create_task(store.post(ALICE, RequestId("slow"), "slow"))
    await asyncio.sleep(0.1)  # "slow" has its id; that it did not come late makes the test no weaker
    fast = asyncio.create_task(other.post(BOB, RequestId("fast"), "fast"))
    seen = await texts_by_cursor(other, [slow, fast])
    await asyncio.gather(slow, fast)
    return seen


async def test_no_cursor_skips_a_post_that_commits_late(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    postgresql.psql(SLOW_COMMIT, database)
    store, other = await open_postgresql(database), await open_postgresql(database)
    assert await out_of_order(store, other) == ["slow", "fast"]


async def test_without_the_lock_the_same_cursor_would_skip_it(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    postgresql.psql(SLOW_COMMIT, database)
    body = postgresql.psql("SELECT pg_get_functiondef('sns_post'::regproc)", database)
    lock = "PERFORM pg_advisory_xact_lock(7300, 0);"
    assert lock in body
    postgresql.psql(body.replace(lock, ""), database)
    store, other = await open_postgresql(database), await open_postgresql(database)
    assert await out_of_order(store, other) == ["fast"]


async def test_row_that_only_the_database_refuses_fails_alone(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    postgresql.psql("ALTER TABLE posts ADD CHECK (text <> 'forbidden')", database)
    store = await open_postgresql(database)
    await make_users(store)
    texts = [str(n) for n in range(20)]
    texts[7] = "forbidden"
    answers = await asyncio.gather(
        *(store.post(ALICE, RequestId(f"r{n}"), text) for n, text in enumerate(texts)), return_exceptions=True
    )
    assert [n for n, answer in enumerate(answers) if not isinstance(answer, Posted)] == [7]
    assert isinstance(answers[7], InvalidInput)
    assert [post.text for post in await store.posts_after(PostId(0), 50)] == texts[:7] + texts[8:]


async def test_login_that_the_database_refuses_fails_alone(database: str, open_postgresql: OpenPostgresql) -> None:
    store = await open_postgresql(database)
    answers = await asyncio.gather(
        store.login(Login(UserName(os.urandom(9000).hex()), ClientId("c")), 60),  # too long for an index
        store.login(Login(ALICE, ClientId("c")), 60),
        store.login(Login(UserName("zero\0"), ClientId("c")), 60),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [InvalidInput, bool, InvalidInput]
    assert (await store.users("", 10)).names == (ALICE,)


async def test_repeats_use_up_no_ids(database: str, open_postgresql: OpenPostgresql) -> None:
    store = await open_postgresql(database)
    await make_users(store)
    first = await store.post(ALICE, RequestId("r1"), "text")
    for _ in range(5):
        assert await store.post(ALICE, RequestId("r1"), "text") == first
        with pytest.raises(AlreadyDone, match="request id 'r1' was used for something else"):
            await store.post(ALICE, RequestId("r1"), "other text")
    assert (await store.post(ALICE, RequestId("r2"), "text")).post_id == first.post_id + 1


async def test_time_never_falls_along_the_ids(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    store = await open_postgresql(database)
    await make_users(store)
    first = await store.post(ALICE, RequestId("r1"), "by a clock that is an hour ahead")
    postgresql.psql("UPDATE posts SET posted_at_ms = posted_at_ms + 3600000", database)
    second = await store.post(ALICE, RequestId("r2"), "by a clock that was put right")
    assert second.posted_at_ms == first.posted_at_ms + 3_600_000


async def test_one_follow_through_two_servers_at_once_is_done_once(
    database: str, open_postgresql: OpenPostgresql
) -> None:
    stores = [await open_postgresql(database) for _ in range(4)]
    await make_users(stores[0])
    for n in range(10):
        await asyncio.gather(*(store.follow(ALICE, BOB, RequestId(f"f{n}")) for store in stores))
        await asyncio.gather(*(store.unfollow(ALICE, BOB, RequestId(f"u{n}")) for store in stores))


async def test_two_first_logins_at_once_give_the_name_to_one(
    database: str, open_postgresql: OpenPostgresql
) -> None:
    stores = [await open_postgresql(database) for _ in range(4)]
    for round_ in range(10):
        name = UserName(f"user{round_}")
        logins = (store.login(Login(name, ClientId(f"c{n}")), 60) for n, store in enumerate(stores))
        answers = await asyncio.gather(*logins, return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["AlreadyDone"] * 3 + ["bool"]


async def test_servers_that_lock_the_same_logins_do_not_deadlock(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    stores = [await open_postgresql(database) for _ in range(2)]
    logins = [Login(UserName(f"user{n}"), ClientId("c")) for n in range(40)]
    for _ in range(10):
        batches = (logins, logins[::-1])
        for store, order in zip(stores, batches, strict=True):
            await asyncio.gather(*(store.login(login, 60) for login in order))
        both = zip(stores, batches, strict=True)
        await asyncio.gather(*(store.login(login, 60) for store, order in both for login in order))
    assert postgresql.psql(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{database}'") == "0"


async def test_claim_waits_for_the_writes_of_the_one_it_replaces(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    postgresql.psql(SLOW_COMMIT, database)
    stale, new = await open_postgresql(database), await open_postgresql(database)
    await make_users(stale)
    await stale.claim_epoch(VM, Epoch(1))
    slow = asyncio.create_task(stale.post(ALICE, RequestId("slow"), "slow"))
    await asyncio.sleep(0.1)
    await new.claim_epoch(VM, Epoch(1))
    # What the stale one had under way is there before the claim, not after it.
    assert [post.text for post in await new.posts_after(PostId(0), 10)] == ["slow"]
    await slow
    with pytest.raises(Fenced, match="epoch 1 of vm2: epoch 2 has replaced it"):
        await stale.post(ALICE, RequestId("late"), "late")
    with pytest.raises(Fenced):
        await stale.logout(Login(ALICE, ClientId("client")))


async def test_own_posts_under_way_are_not_fenced_by_an_own_claim(
    database: str, open_postgresql: OpenPostgresql
) -> None:
    store = await open_postgresql(database, batch_max=4)
    await make_users(store)
    await store.claim_epoch(VM, Epoch(1))
    posts = [asyncio.create_task(store.post(ALICE, new_request_id(), "text")) for _ in range(200)]
    await asyncio.sleep(0)
    assert [await store.claim_epoch(VM, Epoch(1)) for _ in range(3)] == [2, 3, 4]
    assert len(await asyncio.gather(*posts)) == 200


async def test_those_who_waited_out_their_patience_behind_an_outage_are_answered_at_once(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not each after a try of its own batch: the last would wait for as many times as there are batches."""
    monkeypatch.setattr(postgresql_writer, "PATIENCE_S", 0.5)
    monkeypatch.setattr(postgresql_session, "COMMAND_S", 0.3)
    store = await open_postgresql(database, batch_max=1)
    await make_users(store)
    tries = 0

    async def open_counted(session: Session) -> object:
        nonlocal tries
        tries += 1
        return await open_session(session)

    open_session = Session.open
    monkeypatch.setattr(Session, "open", open_counted)
    postgresql.hang()
    try:
        posts = (store.post(ALICE, new_request_id(), "text") for _ in range(20))
        answers = await asyncio.gather(*posts, return_exceptions=True)
    finally:
        postgresql.thaw()
    assert {type(answer) for answer in answers} == {Unavailable}
    assert sum("it did not answer for 0.5 s" in str(answer) for answer in answers) >= 15
    assert tries < 10
    await store.post(ALICE, new_request_id(), "after it")


async def test_full_queue_refuses_and_serves_on(
    database: str, open_postgresql: OpenPostgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_writer, "QUEUE_MAX", 10)
    store = await open_postgresql(database)
    await make_users(store)
    posts = (store.post(ALICE, new_request_id(), "text") for _ in range(15))
    answers = await asyncio.gather(*posts, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Posted] * 10 + [Unavailable] * 5
    await store.post(ALICE, new_request_id(), "text")


async def test_connections_cut_at_any_time_lose_and_double_nothing(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    store = await open_postgresql(database)
    await make_users(store)
    await store.claim_epoch(VM, Epoch(1))

    async def post_all(caller: int) -> list[Posted]:
        return [await store.post(ALICE, RequestId(f"r{caller}-{n}"), f"{caller}-{n}") for n in range(50)]

    callers = [asyncio.create_task(post_all(caller)) for caller in range(8)]
    while not all(caller.done() for caller in callers):
        await asyncio.to_thread(postgresql.psql, CUT, database)
    acknowledged = sorted(posted.post_id for posts in await asyncio.gather(*callers) for posted in posts)
    stored = await store.posts_after(PostId(0), 1000)
    assert [post.post_id for post in stored] == acknowledged
    assert len({post.text for post in stored}) == len(stored) == 400


async def test_a_closed_store_says_so(database: str, open_postgresql: OpenPostgresql) -> None:
    store = await open_postgresql(database)
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        await store.claim_epoch(VM, Epoch(1))


async def test_server_that_restarts_is_written_to_again(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    store = await open_postgresql(database)
    await make_users(store)
    await store.last_post_id()
    posting = asyncio.create_task(asyncio.to_thread(_restart, postgresql))

    async def posted() -> bool:
        with contextlib.suppress(Unavailable):  # a crash recovery may outlast a call's patience
            await store.post(ALICE, new_request_id(), "text")
            return posting.done()
        return False

    await eventually_async(posted, within_s=25)
    await posting


def _restart(server: Postgresql) -> None:
    server.stop()
    server.start()
