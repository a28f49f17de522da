"""The file: made once, ours or refused, read-only until the first write, and shared with other processes."""

# ruff: noqa: ASYNC240 - these tests look at small files, and nothing else runs in their event loops

import asyncio
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from snsnode.base.errors import ConfigError, StoreFailed, Unavailable
from snsnode.base.ids import Epoch, PostId, RequestId, VmName
from snsnode.store import sqlite_file
from snsnode.store.sqlite import SqliteStore
from snsnode.store.sqlite_file import APPLICATION_ID
from snsnode.store.statements import migrations
from tests.eventually import eventually
from tests.shortage import no_descriptors
from tests.store.conftest import ALICE, OpenSqlite

R1 = RequestId("r1")

# Begins a write and says so; then sleeps inside it, as a frozen process would.
FROZEN_WRITER = """
import apsw, sys, time
db = apsw.Connection(sys.argv[1])
db.execute("BEGIN IMMEDIATE; INSERT INTO servers VALUES ('frozen', 1)")
print("locked", flush=True)
time.sleep(60)
"""

OPENER = """
import asyncio, sys
from pathlib import Path
from snsnode.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    await store.claim_epoch("vm2", 1)
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
def frozen_writer(store: SqliteStore, path: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen([sys.executable, "-c", FROZEN_WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        yield child
        child.kill()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}


async def test_file_is_for_its_owner_only(store: SqliteStore, path: Path) -> None:
    await store.post(ALICE, R1, "text")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"sns.db": 0o600, "sns.db-wal": 0o600, "sns.db-shm": 0o600}


async def test_closing_leaves_one_file(store: SqliteStore, path: Path) -> None:
    await store.post(ALICE, R1, "text")
    await store.close()
    assert list(path.parent.iterdir()) == [path]


async def test_opening_an_existing_file_writes_nothing(
    store: SqliteStore, path: Path, open_sqlite: OpenSqlite
) -> None:
    await store.close()
    before = contents(path.parent)
    spare = await open_sqlite()
    await spare.history(ALICE)
    assert contents(path.parent) == before | {"sns.db-wal": b""}
    await spare.close()
    assert contents(path.parent) == before


async def test_spare_opens_and_reads_beside_a_frozen_writer(
    frozen_writer: subprocess.Popen[str], open_sqlite: OpenSqlite
) -> None:
    spare = await open_sqlite()
    assert (await spare.users("", 10)).names[0] == ALICE


async def test_frozen_writer_holds_up_writes_for_a_bounded_time_until_killed(
    store: SqliteStore, frozen_writer: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.2)
    with pytest.raises(Unavailable, match="cannot write to the store: another process holds it locked"):
        await store.post(ALICE, R1, "text")
    assert await store.last_post_id() == 0
    frozen_writer.kill()
    frozen_writer.wait(timeout=5)
    await store.post(ALICE, R1, "text")
    assert await store.last_post_id() == 1


async def test_writes_that_waited_together_for_a_frozen_writer_give_up_together(
    frozen_writer: subprocess.Popen[str], open_sqlite: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_S", 0.2)
    store = await open_sqlite(batch_max=1)
    start_s = time.monotonic()
    answers = await asyncio.gather(
        *(store.post(ALICE, RequestId(f"r{number}"), "text") for number in range(20)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {Unavailable}
    assert time.monotonic() - start_s < 2.0  # 4 s, had each waited for itself


def test_processes_that_open_a_new_file_at_once_all_succeed(path: Path) -> None:
    children = [subprocess.Popen([sys.executable, "-c", OPENER, str(path)]) for _ in range(6)]
    codes = eventually(lambda: _ended(children), within_s=20)
    assert codes == [0] * 6
    db = apsw.Connection(str(path))
    assert db.execute("SELECT vm, epoch FROM servers").fetchall() == [("vm2", 6)]
    db.close()


def _ended(children: list[subprocess.Popen[bytes]]) -> list[int]:
    codes = [child.poll() for child in children]
    return [code for code in codes if code is not None] if None not in codes else []


async def test_missing_folder_is_a_clear_refusal(tmp_path: Path, open_sqlite: OpenSqlite) -> None:
    where = tmp_path / "missing" / "sns.db"
    with pytest.raises(ConfigError, match=re.escape(f"there is no folder '{where.parent}'; make it, or")):
        await open_sqlite(where)
    assert not where.parent.exists()


async def test_path_that_is_no_file_is_a_clear_refusal(tmp_path: Path, open_sqlite: OpenSqlite) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(ConfigError, match="it must be a file that this user can read and write"):
        await open_sqlite(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot open the store .*: Not a directory"):
        await open_sqlite(tmp_path / "plain" / "sns.db")


async def test_text_file_is_refused_and_kept(path: Path, open_sqlite: OpenSqlite) -> None:
    path.write_text("dear diary, " * 100, encoding="utf-8")
    with pytest.raises(ConfigError, match="it is not a SQLite database; name another file"):
        await open_sqlite()
    assert path.read_text(encoding="utf-8") == "dear diary, " * 100


async def test_database_of_another_program_is_refused_and_kept(path: Path, open_sqlite: OpenSqlite) -> None:
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE users (name TEXT)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="it is another program's database; name another file"):
        await open_sqlite()
    assert path.read_bytes() == before


async def test_file_from_a_newer_version_is_refused(
    store: SqliteStore, path: Path, open_sqlite: OpenSqlite
) -> None:
    await store.close()
    db = apsw.Connection(str(path))
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match=r"a newer snsnode wrote it \(schema 99, this one knows \d\); upgrade"):
        await open_sqlite()


async def test_header_tells_whose_file_it_is(store: SqliteStore, path: Path) -> None:
    await store.close()
    db = apsw.Connection(str(path))
    assert db.pragma("application_id") == APPLICATION_ID
    assert db.pragma("user_version") == migrations("sqlite")[-1].number
    assert db.pragma("journal_mode") == "wal"
    db.close()


async def test_damaged_file_is_reported(store: SqliteStore, path: Path, open_sqlite: OpenSqlite) -> None:
    await store.close()
    header = path.read_bytes()[:100]
    path.write_bytes(header + b"\xff" * 8092)
    with pytest.raises(StoreFailed, match=r"cannot open the store .*SQLITE_CORRUPT"):
        await open_sqlite()


async def test_damaged_table_is_reported(store: SqliteStore, path: Path, open_sqlite: OpenSqlite) -> None:
    """Its schema can be read, and the first look at the posts fails."""
    await store.post(ALICE, R1, "text")
    await store.close()
    db = apsw.Connection(str(path))
    ((page,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'posts'").fetchall()
    size = int(db.pragma("page_size"))
    db.close()
    with path.open("r+b") as file:
        file.seek((int(str(page)) - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(StoreFailed, match=r"cannot open the store .*SQLITE_CORRUPT"):
        await open_sqlite()


async def test_want_of_descriptors_is_no_fault_of_the_file(store: SqliteStore, path: Path) -> None:
    for open_it in (sqlite_file.open_writer, sqlite_file.open_reader):
        with no_descriptors(), pytest.raises(Unavailable, match="Too many open files; try again"):
            open_it(path)


async def test_nothing_is_acknowledged_into_a_file_that_lost_its_name(store: SqliteStore, path: Path) -> None:
    await store.post(ALICE, R1, "kept")
    aside = path.rename(path.with_name("aside.db"))
    with pytest.raises(StoreFailed, match="was removed or replaced while open; restart this server"):
        await store.post(ALICE, RequestId("r2"), "lost")
    aside.rename(path)
    await store.claim_epoch(VmName("vm2"), Epoch(1))
    assert [post.text for post in await store.posts_after(PostId(0), 10)] == ["kept"]
