"""What a version adds to the schema without a new number: made once, by whoever opens first, in nobody's way."""

import asyncio
from pathlib import Path

import pytest

from snsnode.base.errors import ConfigError, Exhausted, NotAllowed, Unavailable
from snsnode.base.ids import ClientId, RequestId, UserName
from snsnode.store import postgresql_schema
from snsnode.store.engines import open_store
from snsnode.store.postgresql import probe
from snsnode.store.postgresql_errors import schema_error
from snsnode.store.protocol import Login
from snsnode.store.statements import Migration, additions, migrations
from tests.postgresql_rig import Postgresql
from tests.store.conftest import ALICE, BOB, OpenPostgresql, make_users

RELEASED = 2  # the number of 0.1.0, which 0.2.0 keeps
MADE = (
    "INDEX users_by_case",
    "FUNCTION sns_named(text)",
    "FUNCTION sns_login_named(text, text, bigint)",
    "FUNCTION sns_follow_named(text, text, text, text)",
    "FUNCTION sns_write_named(text, bigint, jsonb)",
)
# The same text after a second open, if that made nothing: a row that is written anew has another xmin.
TRACES = (
    "SELECT string_agg(xmin::text, ' ' ORDER BY oid) FROM pg_class WHERE relname IN ('users_by_case', 'users')",
    "SELECT string_agg(xmin::text, ' ' ORDER BY oid) FROM pg_proc WHERE proname LIKE 'sns_%'",
)


def without_additions(server: Postgresql, database: str) -> None:
    """Make of the store one that the version before has made."""
    server.psql("; ".join(f"DROP {each}" for each in MADE), database)


def traces(server: Postgresql, database: str) -> list[str]:
    return [server.psql(query, database) for query in TRACES]


def number(server: Postgresql, database: str) -> int:
    return int(server.psql("SELECT version FROM sns_schema", database))


async def test_new_store_has_the_number_of_the_version_before(
    postgresql: Postgresql, empty_database: str, open_postgresql: OpenPostgresql
) -> None:
    await open_postgresql(empty_database)
    assert number(postgresql, empty_database) == RELEASED


async def test_old_store_gets_the_additions_once(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql, tmp_path: Path
) -> None:
    without_additions(postgresql, database)
    url = postgresql.url(database)
    assert "schema 2: this version's additions are made at the next start" in await probe(url, tmp_path)
    before = traces(postgresql, database)
    store = await open_postgresql(database)
    made = traces(postgresql, database)
    assert made != before
    assert (await probe(url, tmp_path)).endswith("schema 2")
    await make_users(store)
    with pytest.raises(NotAllowed, match="only in case"):
        await store.login(Login(UserName("BOB"), ClientId("c")), 60)
    await open_postgresql(database)
    assert traces(postgresql, database) == made
    assert number(postgresql, database) == RELEASED


@pytest.mark.parametrize("gone", MADE)
async def test_whatever_is_missing_is_made_again(
    gone: str, postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    postgresql.psql(f"DROP {gone}", database)
    await make_users(await open_postgresql(database))
    postgresql.psql(f"DROP {gone}", database)  # which fails where there is none


async def test_many_that_open_an_old_store_at_once_all_serve(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    without_additions(postgresql, database)
    stores = await asyncio.gather(*(open_postgresql(database) for _ in range(8)))
    await asyncio.gather(*(make_users(store) for store in stores[:1]))
    await asyncio.gather(*(store.post(ALICE, RequestId(f"r{n}"), "text") for n, store in enumerate(stores)))


async def test_what_the_version_before_calls_is_as_it_was(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    """It may be at work beside this one, or come back."""
    released = "SELECT md5(string_agg(prosrc, '' ORDER BY proname)) FROM pg_proc WHERE proname IN ({})"
    names = postgresql.psql(
        "SELECT string_agg(quote_literal(proname), ',') FROM pg_proc "
        "WHERE proname LIKE 'sns\\_%' AND proname NOT LIKE '%named'",
        database,
    )
    assert names.count("sns_") >= 10
    without_additions(postgresql, database)
    before = postgresql.psql(released.format(names), database)
    await make_users(await open_postgresql(database))
    assert postgresql.psql(released.format(names), database) == before
    batch = '[{"kind": "login", "username": "ALICE", "client_id": "c", "lease_ms": 9}]'
    assert postgresql.psql(f"SELECT sns_write('vm1', 1, '{batch}')", database) == '["new"]'


async def test_all_kinds_of_writes_go_through_one_batch(database: str, open_postgresql: OpenPostgresql) -> None:
    store = await open_postgresql(database)
    await make_users(store)
    alice, newcomer = Login(ALICE, ClientId("client")), Login(UserName("carol"), ClientId("c"))
    lost = Login(BOB, ClientId("another"))
    answers = await asyncio.gather(
        store.login(newcomer, 60),
        store.follow(ALICE, UserName("Bob"), RequestId("r1")),
        store.renew([alice, lost], 60),
        store.unfollow(ALICE, UserName("Bob"), RequestId("r2")),
        store.logout(alice),
        store.login(alice, 60),
    )
    assert list(answers) == [False, None, {lost}, None, None, False]


async def test_user_who_does_not_own_the_tables_is_told_what_the_owner_runs(
    postgresql: Postgresql, database: str, tmp_path: Path
) -> None:
    without_additions(postgresql, database)
    postgresql.psql("DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    postgresql.psql(
        "GRANT CREATE ON SCHEMA public TO guest; GRANT ALL ON ALL TABLES IN SCHEMA public TO guest", database
    )
    url = postgresql.url(database, user="guest")
    for ask in (open_store(url, tmp_path), probe(url, tmp_path)):
        with pytest.raises(ConfigError, match="only the owner of its tables may add it") as refusal:
            await ask
        assert f"psql -1 -f {additions('postgresql')}" in refusal.value.message
    postgresql.psql(additions("postgresql").read_text(), database, user="sns")
    store = await open_store(url, tmp_path)
    await make_users(store)
    await store.close()


async def test_additions_that_fail_leave_nothing_and_name_the_cause(
    postgresql: Postgresql, database: str, tmp_path: Path
) -> None:
    without_additions(postgresql, database)
    postgresql.psql("CREATE FUNCTION sns_named(p_name text) RETURNS int LANGUAGE sql AS 'SELECT 1'", database)
    with pytest.raises(Exception, match=r"cannot add to the schema of .* what this version needs: .*sns_named"):
        await open_store(postgresql.url(database), tmp_path)
    assert postgresql.psql("SELECT to_regclass('users_by_case') IS NULL", database) == "t"


async def test_later_migration_runs_on_a_store_with_and_without_additions(
    postgresql: Postgresql, database: str, tmp_path: Path, open_postgresql: OpenPostgresql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    planted = tmp_path / "0003_planted.sql"
    planted.write_text("ALTER TABLE users ADD COLUMN colour text NOT NULL DEFAULT 'blue';")
    other = postgresql.make_database()
    without_additions(postgresql, other)
    later = (*migrations("postgresql"), Migration(RELEASED + 1, planted))
    monkeypatch.setattr(postgresql_schema, "migrations", lambda engine: later)
    for name in (database, other):
        store = await open_postgresql(name)
        await make_users(store)
        with pytest.raises(NotAllowed, match="only in case"):
            await store.login(Login(UserName("BOB"), ClientId("c")), 60)
        assert number(postgresql, name) == RELEASED + 1
        await store.close()
    postgresql.drop_database(other)


async def test_newer_schema_is_no_good_finding_either(
    postgresql: Postgresql, database: str, tmp_path: Path
) -> None:
    postgresql.psql("UPDATE sns_schema SET version = 3", database)
    with pytest.raises(ConfigError, match="has version 3, and this snsnode knows up to 2; upgrade snsnode"):
        await probe(postgresql.url(database), tmp_path)


def test_full_disk_is_told_as_one_when_the_schema_grows() -> None:
    class DiskFull(Exception):
        sqlstate = "53100"

    class ReadOnly(Exception):
        sqlstate = "25006"

    assert isinstance(schema_error(DiskFull("no space"), "cannot add"), Exhausted)
    assert isinstance(schema_error(ReadOnly("read-only"), "cannot add"), Unavailable)
