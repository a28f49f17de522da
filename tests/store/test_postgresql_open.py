"""Opening a PostgreSQL store: its schema, and one clear error for each thing that is wrong with its place."""

import asyncio
import os
from pathlib import Path

import pytest

from snsnode.base.errors import ConfigError, Unavailable
from snsnode.base.ids import ClientId
from snsnode.store import postgresql as engine
from snsnode.store import postgresql_schema
from snsnode.store.engines import open_postgresql_target, open_store
from snsnode.store.postgresql import probe
from snsnode.store.postgresql_connect import Connector
from snsnode.store.postgresql_url import parse_url
from snsnode.store.protocol import Login
from snsnode.store.statements import migrations
from tests.ports import free_port
from tests.postgresql_rig import PASSWORD, Postgresql, running, wheel_programs
from tests.store.conftest import ALICE, OpenPostgresql

LATEST = migrations("postgresql")[-1].number


def tcp(server: Postgresql, database: str, passfile: Path, user: str = "sns") -> str:
    return f"postgresql://{user}@127.0.0.1:{server.port}/{database}?passfile={passfile}&sslmode=disable"


async def refused(url: str, home: Path) -> str:
    """Return the one clear error."""
    with pytest.raises(ConfigError) as refusal:
        await open_store(url, home)
    assert "\n" not in refusal.value.message
    assert PASSWORD not in refusal.value.message
    return refusal.value.message


async def test_many_that_open_an_empty_database_at_once_make_one_schema(
    postgresql: Postgresql, empty_database: str, tmp_path: Path
) -> None:
    stores = await asyncio.gather(*(open_store(postgresql.url(empty_database), tmp_path) for _ in range(8)))
    await asyncio.gather(*(store.login(Login(ALICE, ClientId("c")), 60) for store in stores))
    for store in stores:
        await store.close()
    assert postgresql.psql("SELECT version FROM sns_schema", empty_database) == str(LATEST)


async def test_old_schema_is_brought_to_this_version(
    postgresql: Postgresql, empty_database: str, open_postgresql: OpenPostgresql, tmp_path: Path
) -> None:
    url = postgresql.url(empty_database)
    assert f"schema 0: brought to {LATEST} at the next start" in await probe(url, tmp_path)
    assert postgresql.psql("SELECT to_regclass('users') IS NULL", empty_database) == "t"
    await (await open_postgresql(empty_database)).login(Login(ALICE, ClientId("c")), 60)
    assert f"takes writes, PostgreSQL {_version(postgresql)}, schema {LATEST}" in await probe(url, tmp_path)


async def test_newer_schema_is_refused(postgresql: Postgresql, database: str, tmp_path: Path) -> None:
    postgresql.psql("UPDATE sns_schema SET version = 99", database)
    message = await refused(postgresql.url(database), tmp_path)
    assert message.endswith(
        f"has version 99, and this snsnode knows up to {LATEST}; upgrade snsnode on this machine"
    )


async def test_failed_migration_leaves_nothing(
    postgresql: Postgresql, empty_database: str, tmp_path: Path
) -> None:
    postgresql.psql("CREATE TABLE follows (nothing int)", empty_database)
    with pytest.raises(Exception, match=r'schema of .* to version \d+: relation "follows" already exists'):
        await open_store(postgresql.url(empty_database), tmp_path)
    assert (
        postgresql.psql(
            "SELECT to_regclass('sns_schema') IS NULL AND to_regclass('users') IS NULL", empty_database
        )
        == "t"
    )


async def test_schema_that_somebody_holds_is_waited_for_within_a_bound(
    postgresql: Postgresql, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_schema, "MIGRATE_S", 0.3)
    url = postgresql.url(empty_database)
    holder = (await Connector(parse_url(url, tmp_path)).connect()).connection
    # Under another name: a copy would take it for a server.
    await holder.execute("SET application_name = 'psql'; SELECT pg_advisory_lock(7303, 0)")
    target = await open_postgresql_target(url, tmp_path)
    try:
        for waits in (open_store(url, tmp_path), target.begin("origin", from_scratch=False)):
            with pytest.raises(Unavailable, match="its schema is locked, or its server hangs; try again"):
                async with asyncio.timeout(20):
                    await waits
    finally:
        holder.terminate()
        await target.close()


async def test_doctor_does_not_wait_for_a_schema_that_somebody_holds(
    postgresql: Postgresql, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "COMMAND_S", 0.3)
    url = postgresql.url(database)
    holder = (await Connector(parse_url(url, tmp_path)).connect()).connection
    await holder.execute("BEGIN; LOCK TABLE sns_schema")
    with pytest.raises(
        Unavailable, match=r"cannot read the store .*: its server said nothing for 0.3 s; try again"
    ):
        await probe(url, tmp_path)
    holder.terminate()


async def test_unfinished_copy_is_refused(postgresql: Postgresql, database: str, tmp_path: Path) -> None:
    postgresql.psql("CREATE TABLE copying (origin text)", database)
    assert "a copy that is not complete; run the same 'snsctl store copy' again" in await refused(
        postgresql.url(database), tmp_path
    )


async def test_user_who_may_not_make_tables_is_told_so(
    postgresql: Postgresql, empty_database: str, tmp_path: Path
) -> None:
    postgresql.psql("REVOKE CREATE ON SCHEMA public FROM PUBLIC", empty_database)
    postgresql.psql("DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    message = await refused(postgresql.url(empty_database, user="guest"), tmp_path)
    assert "permission denied" in message
    assert message.endswith("the owner of the database, or grant it CREATE on the schema")


async def test_password_is_read_from_its_file(postgresql: Postgresql, database: str, tmp_path: Path) -> None:
    store = await open_store(tcp(postgresql, database, postgresql.passfile()), tmp_path)
    assert await store.last_post_id() == 0
    await store.close()


async def test_password_is_read_from_pgpassfile(
    postgresql: Postgresql, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(postgresql.passfile()))
    url = f"postgresql://sns@127.0.0.1:{postgresql.port}/{database}?sslmode=disable"
    await (await open_store(url, tmp_path)).close()


async def test_wrong_password_is_refused(postgresql: Postgresql, database: str, tmp_path: Path) -> None:
    (tmp_path / "pgpass").write_text("*:*:*:sns:wrong-horse\n")
    (tmp_path / "pgpass").chmod(0o600)
    message = await refused(tcp(postgresql, database, Path("pgpass")), tmp_path)
    assert f"127.0.0.1:{postgresql.port} refuses the password" in message
    assert "write it to the file that PGPASSFILE or ?passfile= names" in message
    assert "wrong-horse" not in message


async def test_missing_password_file_is_refused(postgresql: Postgresql, database: str, tmp_path: Path) -> None:
    message = await refused(tcp(postgresql, database, Path("nowhere")), tmp_path)
    assert f"cannot read the password file {tmp_path}/nowhere" in message
    assert f"HOST:PORT:{database}:sns:PASSWORD" in message


async def test_password_file_that_others_can_read_is_refused(
    postgresql: Postgresql, database: str, tmp_path: Path
) -> None:
    (tmp_path / "pgpass").write_text(f"*:*:*:sns:{PASSWORD}\n")
    (tmp_path / "pgpass").chmod(0o644)
    assert "others may read it; chmod 600 it" in await refused(tcp(postgresql, database, Path("pgpass")), tmp_path)


async def test_unknown_database_is_refused(postgresql: Postgresql, tmp_path: Path) -> None:
    assert "has no such database; create it" in await refused(postgresql.url("nowhere"), tmp_path)


async def test_unknown_user_is_refused(postgresql: Postgresql, database: str, tmp_path: Path) -> None:
    message = await refused(postgresql.url(database, user="nobody"), tmp_path)
    assert "does not let this user in; create it, or allow it in pg_hba.conf" in message


async def test_database_of_another_encoding_is_refused(postgresql: Postgresql, tmp_path: Path) -> None:
    postgresql.psql("CREATE DATABASE latin OWNER sns ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "the encoding LATIN1; create it with ENCODING 'UTF8'" in await refused(
        postgresql.url("latin"), tmp_path
    )
    postgresql.drop_database("latin")


async def test_missing_certificate_is_refused(postgresql: Postgresql, database: str, tmp_path: Path) -> None:
    url = f"postgresql://sns@127.0.0.1:{postgresql.port}/{database}?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem"
    assert "cannot be reached with the TLS options of the URL: [Errno 2] No such file" in await refused(
        url, tmp_path
    )


async def test_nobody_there_is_no_fault_of_the_configuration(tmp_path: Path) -> None:
    url = f"postgresql://sns@127.0.0.1:{free_port()},127.0.0.1:{free_port()}/sns?sslmode=disable"
    with pytest.raises(Unavailable, match=r"127.0.0.1:\d+ does not answer: .*; 127.0.0.1:\d+ does not answer"):
        await open_store(url, tmp_path)


async def test_acknowledged_is_durable_whatever_the_role_was_set_to(
    postgresql: Postgresql, database: str, open_postgresql: OpenPostgresql
) -> None:
    postgresql.psql(f"ALTER DATABASE {database} SET synchronous_commit = off", database)
    postgresql.psql(f"ALTER DATABASE {database} SET statement_timeout = '10s'", database)
    store = await open_postgresql(database)
    db = await store._posts.session.open()
    assert await db.fetchval("SHOW synchronous_commit") == "on"
    assert await db.fetchval("SHOW statement_timeout") == "0"
    assert await db.fetchval("SHOW transaction_isolation") == "read committed"


def test_server_of_the_wheel_will_do_where_the_machine_has_none(tmp_path: Path) -> None:
    with running(wheel_programs()) as server:
        server.make_template()
        assert int(_version(server).split(".")[0]) >= 18
        assert server.psql("SHOW fsync") == "on"
        owner = (server.data / "PG_VERSION").stat().st_uid
        assert owner != 0
        assert os.geteuid() in (0, owner)
    assert not server.folder.exists()


def _version(server: Postgresql) -> str:
    return server.psql("SHOW server_version").split()[0]
