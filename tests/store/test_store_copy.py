"""Moving a store: all of it, checked, once, and on from where a killed copy ended."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import apsw
import pytest

from snsnode.base.errors import AlreadyDone, ConfigError, Exhausted, Held, NotAllowed, UsageError
from snsnode.base.ids import ClientId, Epoch, PostId, RequestId, UserName, VmName
from snsnode.control import store_copy
from snsnode.control.store_copy import Moved, Progress, copy, move
from snsnode.store import transfer
from snsnode.store.protocol import Login
from snsnode.store.sqlite_transfer import SqliteSource, SqliteTarget
from snsnode.store.transfer import Position, Row, Table
from tests.full_disk import small_disk
from tests.processes import sleeper
from tests.store.conftest import ALICE, BOB, OpenSqlite

VM = VmName("vm2")
CAROL = UserName("carol")
POSTS = 25
STEP_S = 20.0
CHUNK = 7  # so that a few rows make several chunks

HOLDER = """
import apsw
db = apsw.Connection(sys.argv[1])
db.execute("SELECT * FROM users").fetchall()
hold()
"""


def quiet(progress: Progress) -> None:
    """Nobody looks."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_copy, "CHUNK_ROWS", CHUNK)
    plan = transfer.following
    monkeypatch.setattr(store_copy, "following", lambda here, rows: plan(here, rows, CHUNK))


@pytest.fixture
async def full(open_sqlite: OpenSqlite, path: Path) -> Path:
    """A closed store with something in every table."""
    store = await open_sqlite()
    for name in (ALICE, BOB, CAROL):
        await store.login(Login(name, ClientId("client")), lease_s=60)
    await store.claim_epoch(VM, Epoch(41))
    await store.post(ALICE, RequestId("before"), "before bob followed")
    await store.follow(BOB, ALICE, RequestId("follow"))
    for number in range(POSTS):
        await store.post(ALICE if number % 3 else CAROL, RequestId(f"r{number}"), f"Grüße\n{number}\t'\"%")
    await store.close()
    return path


async def moved(path: Path, to: Path, *, from_scratch: bool = False) -> Moved:
    return await move(f"sqlite:///{path}", f"sqlite:///{to}", path.parent, quiet, from_scratch=from_scratch)


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with contextlib.closing(apsw.Connection(str(path))) as db:
        names = [*(table.name for table in transfer.TABLES), "servers"]
        return {name: list(db.execute(f"SELECT * FROM {name} ORDER BY 1, 2")) for name in names}


async def test_copy_has_every_row_and_goes_on_as_the_first_would(
    full: Path, tmp_path: Path, open_sqlite: OpenSqlite
) -> None:
    done = await moved(full, tmp_path / "new.db")
    assert done.contents.rows == (3, POSTS + 1, 1, 1)
    assert done.resumed == 0
    assert tables(tmp_path / "new.db") == tables(full)

    store = await open_sqlite(tmp_path / "new.db")
    # A retry after the move is answered as before it; a request id keeps its meaning.
    assert (await store.post(ALICE, RequestId("before"), "before bob followed")).post_id == 1
    await store.follow(BOB, ALICE, RequestId("follow"))
    with pytest.raises(AlreadyDone):
        await store.post(BOB, RequestId("follow"), "another use")
    # Bob sees what was posted after his follow.
    assert (await store.timeline_after(BOB, PostId(0), 3))[0].post_id > 1
    assert (await store.post(BOB, RequestId("new"), "new")).post_id > POSTS + 1
    assert await store.claim_epoch(VM, Epoch(1)) == 42


async def test_ids_and_epochs_never_fall(full: Path, tmp_path: Path, open_sqlite: OpenSqlite) -> None:
    with contextlib.closing(apsw.Connection(str(full))) as db:
        db.execute("DELETE FROM posts WHERE id > 10")  # by hand
    target = await open_sqlite(tmp_path / "new.db")
    await target.claim_epoch(VM, Epoch(100))
    await target.close()
    await moved(full, tmp_path / "new.db")
    store = await open_sqlite(tmp_path / "new.db")
    assert (await store.post(ALICE, RequestId("new"), "new")).post_id > POSTS + 1
    assert await store.claim_epoch(VM, Epoch(1)) == 101


async def test_copy_that_is_cancelled_in_the_middle_of_a_step_closes_its_store(full: Path) -> None:
    """The step runs on in its thread, and what closes the connection waits for it."""
    reading, go_on = threading.Event(), threading.Event()

    def held(*_: object) -> bool:
        reading.set()
        return go_on.wait(STEP_S)

    source = await SqliteSource.open(full)
    source._db.create_scalar_function("held", held)
    step = asyncio.create_task(source.rows(Table("users", ("held()",), ("username",)), (), 1))
    assert await asyncio.to_thread(reading.wait, STEP_S)
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    closing = asyncio.create_task(source.close())
    asyncio.get_running_loop().call_soon(go_on.set)
    await closing
    with contextlib.closing(apsw.Connection(str(full))) as db:
        db.execute("BEGIN IMMEDIATE")  # nobody holds it any more


class Killed(Exception):
    """The copying process ended here."""


@contextlib.asynccontextmanager
async def both(path: Path, to: Path) -> AsyncIterator[tuple[SqliteSource, SqliteTarget]]:
    source, target = await SqliteSource.open(path), await SqliteTarget.open_or_make(to)
    try:
        yield source, target
    finally:
        await source.close()
        await target.close()


class Dying(SqliteTarget):
    """Dies after some transactions."""

    left = 0

    async def add(self, rows: Sequence[Row], here: Position, there: Position) -> None:
        if not self.left:
            raise Killed
        self.left -= 1
        await super().add(rows, here, there)


@pytest.mark.parametrize("transactions", [0, 1, 2, 4, 5, 6])
async def test_killed_copy_goes_on_after_its_last_transaction(
    full: Path, tmp_path: Path, open_sqlite: OpenSqlite, transactions: int
) -> None:
    to = tmp_path / "new.db"
    source, target = await SqliteSource.open(full), await Dying.open_or_make(to)
    target.left = transactions
    with pytest.raises(Killed):
        await copy(source, target, quiet)
    await source.close()
    await target.close()

    # No server takes half a store for a whole one.
    with pytest.raises(ConfigError, match="'snsctl store copy' into it is not finished; run that command again"):
        await open_sqlite(to)
    with pytest.raises(ConfigError, match="is not finished"):
        await moved(to, tmp_path / "third.db")

    done = await moved(full, to)
    assert done.resumed == {0: 0, 1: 3, 2: 10, 4: 24, 5: 29, 6: 30}[transactions]
    assert tables(to) == tables(full)
    await open_sqlite(to)


async def test_copy_that_ended_without_a_word_is_compared_and_done(
    full: Path, tmp_path: Path, open_sqlite: OpenSqlite
) -> None:
    """Killed after its last COMMIT, before it could say so: the same command says it now."""
    to = tmp_path / "new.db"
    await moved(full, to)
    again = await moved(full, to)
    assert again.resumed == sum(again.contents.rows)
    assert tables(to) == tables(full)
    with contextlib.closing(apsw.Connection(str(to))) as db:
        db.execute("UPDATE posts SET text = 'another' WHERE id = 1")
    for from_scratch in (False, True):
        with pytest.raises(NotAllowed, match="is not the same in both stores"):
            await moved(full, to, from_scratch=from_scratch)
    store = await open_sqlite(to)  # no copy has marked it, nor removed anything
    assert len(await store.posts_after(PostId(0), 1000)) == POSTS + 1


async def test_source_that_changed_in_between_is_noticed(
    full: Path, tmp_path: Path, open_sqlite: OpenSqlite
) -> None:
    to = tmp_path / "new.db"
    source, target = await SqliteSource.open(full), await Dying.open_or_make(to)
    target.left = 3
    with pytest.raises(Killed):
        await copy(source, target, quiet)
    await source.close()
    await target.close()

    store = await open_sqlite(full)
    await store.post(BOB, RequestId("late"), "late")
    await store.close()
    with pytest.raises(NotAllowed, match="--from-scratch removes it"):
        await moved(full, to)
    assert (await moved(full, to, from_scratch=True)).resumed == 0
    assert tables(to) == tables(full)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE posts SET text = 'other' WHERE id = 3",
        "UPDATE posts SET posted_at_ms = posted_at_ms + 1 WHERE id = 26",
        "UPDATE users SET created_at_ms = 1 WHERE username = 'alice'",
        "DELETE FROM posts WHERE id = 26",
        "INSERT INTO posts (author, posted_at_ms, text, request_id) VALUES ('alice', 0, 'x', 'x')",
        "UPDATE follows SET after_id = 0",
        "UPDATE requests SET kind = 'unfollow'",
    ],
)
async def test_row_that_differs_is_found_and_the_copy_not_completed(
    full: Path, tmp_path: Path, open_sqlite: OpenSqlite, statement: str
) -> None:
    to = tmp_path / "new.db"

    def spoil(progress: Progress) -> None:
        if (progress.verb, progress.table, progress.done) == ("comparing", "users", 0):
            with contextlib.closing(apsw.Connection(str(to))) as db:
                db.execute(statement)

    with pytest.raises(NotAllowed, match="is not the same in both stores"):
        await move(f"sqlite:///{full}", f"sqlite:///{to}", tmp_path, spoil)
    with pytest.raises(ConfigError, match="is not finished"):
        await open_sqlite(to)


async def test_store_with_data_of_its_own_is_not_touched(
    full: Path, tmp_path: Path, open_sqlite: OpenSqlite
) -> None:
    store = await open_sqlite(tmp_path / "other.db")
    await store.login(Login(BOB, ClientId("client")), lease_s=60)
    await store.close()
    before = tables(tmp_path / "other.db")
    for from_scratch in (False, True):
        with pytest.raises(NotAllowed, match="it holds users and posts of its own"):
            await moved(full, tmp_path / "other.db", from_scratch=from_scratch)
    assert tables(tmp_path / "other.db") == before


async def test_store_that_a_process_has_open_is_refused(full: Path, tmp_path: Path) -> None:
    with sleeper(HOLDER, str(full)) as other:
        with pytest.raises(Held, match=rf"process {other.process.pid} \(.*snsctl stop"):
            await moved(full, tmp_path / "new.db")
        assert not (tmp_path / "new.db").exists()
    await moved(full, tmp_path / "new.db")
    with sleeper(HOLDER, str(tmp_path / "new.db")), pytest.raises(Held, match="cannot copy into"):
        await moved(full, tmp_path / "new.db")


async def test_nobody_writes_to_what_is_being_copied(full: Path, tmp_path: Path) -> None:
    tried: list[str] = []

    def write(progress: Progress) -> None:
        with contextlib.closing(apsw.Connection(str(full))) as db:
            try:
                db.execute("INSERT INTO users VALUES ('mallory', 0)")
            except apsw.BusyError as error:
                tried.append(str(error))

    await move(f"sqlite:///{full}", f"sqlite:///{tmp_path / 'new.db'}", tmp_path, write)
    assert len(tried) > 8


async def test_two_copies_at_once_do_not_mix(full: Path, tmp_path: Path) -> None:
    to = tmp_path / "new.db"
    async with both(full, to) as (source, target):
        origin = (await source.contents()).text()
        here = await target.begin(origin, from_scratch=False)
        rows = await source.rows(transfer.TABLES[0], (), CHUNK)
        await target.add(rows, here, Position(1))
        with pytest.raises(NotAllowed, match="another copy is at work"):
            await target.add(rows, here, Position(1))


async def test_full_disk_stops_a_copy_that_then_goes_on(full: Path) -> None:
    with contextlib.closing(apsw.Connection(str(full))) as db:
        insert = "INSERT INTO posts (author, posted_at_ms, text, request_id) VALUES ('alice', 0, ?, ?)"
        db.executemany(insert, (("x" * 400, f"long{number}") for number in range(100)))
    with small_disk(2**20) as disk:
        to = disk.folder / "new.db"
        done = 0

        def fill(progress: Progress) -> None:
            nonlocal done
            if progress.table == "posts" and progress.done > 20 and not done:
                done = progress.done
                disk.fill()

        with pytest.raises(Exhausted, match="its disk takes no more"):
            await move(f"sqlite:///{full}", f"sqlite:///{to}", full.parent, fill)
        disk.free()
        assert (await moved(full, to)).resumed >= done
        assert tables(to) == tables(full)


async def test_what_cannot_be_copied_is_one_error(full: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        await moved(tmp_path / "none.db", tmp_path / "new.db")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(UsageError, match="into itself"):
        await moved(full, full)
    (tmp_path / "link.db").symlink_to(full)
    with pytest.raises(UsageError, match="into itself"):
        await moved(full, tmp_path / "link.db")
    (tmp_path / "text").write_text("no database" * 100)
    for pair in ((tmp_path / "text", tmp_path / "new.db"), (full, tmp_path / "text")):
        with pytest.raises(ConfigError, match="it is not a SQLite database"):
            await moved(*pair)
    with pytest.raises(UsageError, match="only a SQLite store can be moved"):
        await move("postgresql://sns@db/sns", "sqlite:///x.db", tmp_path, quiet)
    (tmp_path / "empty.db").touch()
    with pytest.raises(ConfigError, match="it is an empty file"):
        await moved(tmp_path / "empty.db", tmp_path / "new.db")


async def test_copy_of_a_file_from_a_newer_version_is_refused(full: Path, tmp_path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(full))) as db:
        db.pragma("user_version", 99)
    with pytest.raises(ConfigError, match="a newer snsnode wrote it"):
        await moved(full, tmp_path / "new.db")


def test_plan_ends_each_table_with_its_last_short_chunk() -> None:
    rows: list[Row] = [("a", 1), ("b", 2)]
    assert transfer.following(Position(), rows, 2) == Position(0, ("b",), 2)
    assert transfer.following(Position(0, ("b",), 2), [], 2) == Position(1)
    assert transfer.following(Position(0, ("b",), 2), rows[:1], 2) == Position(1)
    assert transfer.position(Position(2, ("a", "b"), 7).text()) == Position(2, ("a", "b"), 7)
    assert Position(len(transfer.TABLES)).is_end
