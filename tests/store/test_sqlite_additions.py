"""What a version adds to the schema without a new number: made once, and a store that cannot take it is served."""

# ruff: noqa: ASYNC240 - these tests look at small files, and nothing else runs in their event loops

import logging
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from snsnode.base.errors import Exhausted, NotAllowed, Unavailable
from snsnode.base.ids import ClientId, RequestId, UserName
from snsnode.control.backup import back_up
from snsnode.control.store_copy import move
from snsnode.store import sqlite_file
from snsnode.store.protocol import Login
from snsnode.store.sqlite import SqliteStore
from snsnode.store.sqlite_file import COPYING_ID
from snsnode.store.statements import Migration, migrations
from snsnode.store.transfer import Position
from tests.full_disk import SmallDisk, small_disk
from tests.store.conftest import ALICE, BOB, OpenSqlite

RELEASED = 1  # the number of 0.1.0, which 0.2.0 keeps
OPENER = """
import sys
from pathlib import Path
from snsnode.store.sqlite_file import open_writer

open_writer(Path(sys.argv[1])).close()
"""
INDEX = "SELECT count(*) FROM sqlite_schema WHERE name = 'users_by_case'"


@contextmanager
def raw(path: Path) -> Iterator[apsw.Connection]:
    db = apsw.Connection(str(path))
    try:
        yield db
    finally:
        db.close()


def look(path: Path) -> tuple[int, int, int]:
    """Return the schema's number, how often it has changed, and how many indexes by case there are."""
    with raw(path) as db:
        ((indexes,),) = db.execute(INDEX).fetchall()
        return int(db.pragma("user_version")), int(db.pragma("schema_version")), int(str(indexes))


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk() as mounted:
        yield mounted


@pytest.fixture
async def old(store: SqliteStore, path: Path) -> Path:
    """A store with users and a post, as the version before has made it."""
    await store.post(ALICE, RequestId("r0"), "old")
    await store.close()
    with raw(path) as db:
        db.execute("DROP INDEX users_by_case")
        assert db.pragma("integrity_check") == "ok"
    return path


async def assert_served(store: SqliteStore) -> None:
    assert [post.text for post in (await store.history(ALICE)).posts] == ["old"]
    assert (await store.users("", 10)).names == (ALICE, BOB)


async def assert_names_rule(store: SqliteStore) -> None:
    """With the index or without: exact first, else the one whose name differs only in case."""
    with pytest.raises(NotAllowed, match="only in case"):
        await store.login(Login(UserName("BOB"), ClientId("c")), 60)
    await store.follow(ALICE, UserName("BOB"), RequestId(uuid.uuid4().hex))
    assert (await store.followers(BOB, "", 10)).names == (ALICE,)
    await store.unfollow(ALICE, UserName("boB"), RequestId(uuid.uuid4().hex))


async def test_new_store_has_the_number_of_the_version_before(store: SqliteStore, path: Path) -> None:
    number, _, indexes = look(path)
    assert (number, indexes) == (RELEASED, 1)


async def test_old_store_gets_the_additions_once(
    old: Path, open_sqlite: OpenSqlite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite()
    await assert_served(store)
    await assert_names_rule(store)
    number, changes, indexes = look(old)
    assert (number, indexes) == (RELEASED, 1)
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.1)
    with raw(old) as another:
        another.execute("BEGIN IMMEDIATE")
        await open_sqlite()  # and does not so much as try to write
    assert not caplog.records
    assert look(old) == (number, changes, indexes)


async def test_additions_arrive_under_a_store_that_the_version_before_has_open(
    old: Path, open_sqlite: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(sqlite_file, "_has_additions", lambda db: True)
        running = await open_sqlite()
    assert look(old)[2] == 0
    await assert_names_rule(running)
    await open_sqlite()
    assert look(old)[2] == 1
    await running.post(ALICE, RequestId("r1"), "still served")
    await assert_names_rule(running)


async def test_read_only_file_without_the_index_is_read(
    old: Path, disk: SmallDisk, open_sqlite: OpenSqlite, caplog: pytest.LogCaptureFixture
) -> None:
    where = disk.folder / "sns.db"
    with raw(old) as db:  # while it is open its log is there, too: on a read-only disk nobody can make one
        db.execute("BEGIN IMMEDIATE; COMMIT")
        for end in ("", "-wal", "-shm"):
            shutil.copy(f"{old}{end}", f"{where}{end}")
    disk.freeze()
    try:
        store = await open_sqlite(where)
        await assert_served(store)
        with pytest.raises(Exhausted):
            await store.post(ALICE, RequestId("r1"), "text")
        assert "going on without, which is slower" in caplog.text
        await store.close()
    finally:
        disk.thaw()
    assert look(where)[2] == 0


async def test_full_disk_without_the_index_is_served(
    old: Path, disk: SmallDisk, open_sqlite: OpenSqlite, caplog: pytest.LogCaptureFixture
) -> None:
    where = disk.folder / "sns.db"
    where.write_bytes(old.read_bytes())
    where.chmod(0o600)
    with raw(where) as db:  # holds what each process needs to read, as a master that runs does
        db.execute("SELECT 1 FROM users").fetchall()
        disk.fill()
        store = await open_sqlite(where)
        await assert_served(store)
        assert "cannot add an index to" in caplog.text
        assert "SQLITE_FULL" in caplog.text
        disk.free()
        await store.post(ALICE, RequestId("r1"), "text")
    assert look(where)[2] == 0
    await open_sqlite(where)
    assert look(where)[2] == 1


async def test_store_that_a_frozen_process_holds_is_served_without_the_index(
    old: Path, open_sqlite: OpenSqlite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.2)
    with raw(old) as frozen:
        frozen.execute("BEGIN IMMEDIATE; INSERT INTO servers VALUES ('frozen', 1)")
        store = await open_sqlite()
        await assert_served(store)
        with pytest.raises(Unavailable):
            await store.post(ALICE, RequestId("r1"), "text")
        assert "SQLITE_BUSY" in caplog.text
        frozen.execute("ROLLBACK")
    await assert_names_rule(store)
    assert look(old)[2] == 0
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        await open_sqlite()
    assert look(old)[2] == 1
    assert not caplog.records


def test_processes_that_open_an_old_store_at_once_all_succeed(old: Path) -> None:
    children = [subprocess.Popen([sys.executable, "-c", OPENER, str(old)]) for _ in range(4)]
    assert [child.wait(30) for child in children] == [0] * 4
    assert look(old)[::2] == (RELEASED, 1)


async def test_later_migration_runs_on_a_store_with_and_without_additions(
    old: Path, tmp_path: Path, open_sqlite: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = tmp_path / "without.db"
    without.write_bytes(old.read_bytes())
    without.chmod(0o600)
    await (await open_sqlite(old)).close()
    planted = tmp_path / "0002_planted.sql"
    planted.write_text("ALTER TABLE users ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue';")
    later = (*migrations("sqlite"), Migration(RELEASED + 1, planted))
    monkeypatch.setattr(sqlite_file, "migrations", lambda engine: later)
    for where in (old, without):
        store = await open_sqlite(where)
        await assert_served(store)
        assert look(where)[::2] == (RELEASED + 1, 1)


@pytest.mark.parametrize("indexes", [0, 1])
async def test_copy_and_backup_of_either_store_are_served_by_this_version(
    indexes: int, old: Path, tmp_path: Path, open_sqlite: OpenSqlite
) -> None:
    """A backup is the file as it is, for whichever version it is put back; a copy is a store of this version."""
    if indexes:
        await (await open_sqlite()).close()
    (tmp_path / "backup").mkdir()
    copied, backup = tmp_path / "copied.db", tmp_path / "backup" / "sns.db"
    moved = await move(
        f"sqlite:///{old}", f"sqlite:///{copied}", tmp_path, lambda progress: None, from_scratch=False
    )
    report = back_up(f"sqlite:///{old}", tmp_path, backup, force=False)
    assert (moved.contents.rows[0], report.users, report.schema) == (2, 2, RELEASED)
    assert look(old)[::2] == look(backup)[::2] == (RELEASED, indexes)
    assert look(copied)[::2] == (RELEASED, 1)
    for where in (copied, backup):
        store = await open_sqlite(where)
        await assert_served(store)
        await assert_names_rule(store)
        assert look(where)[::2] == (RELEASED, 1)


async def test_copy_that_the_version_before_began_is_finished(
    old: Path, tmp_path: Path, open_sqlite: OpenSqlite
) -> None:
    target = tmp_path / "copied.db"
    shutil.copy(old, target)
    with raw(target) as db:
        db.execute("DELETE FROM posts; DELETE FROM users; DELETE FROM sessions")
    with raw(target) as db:
        db.execute("CREATE TABLE copying (origin TEXT NOT NULL, position TEXT NOT NULL) STRICT")
        db.execute("INSERT INTO copying VALUES (?, ?)", ("another store", Position().text()))
        db.pragma("application_id", COPYING_ID)
    await move(f"sqlite:///{old}", f"sqlite:///{target}", tmp_path, lambda progress: None, from_scratch=True)
    store = await open_sqlite(target)
    await assert_served(store)
    assert look(target)[::2] == (RELEASED, 1)
