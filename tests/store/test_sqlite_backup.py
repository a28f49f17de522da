"""Backups of a SQLite store: of one moment, whole or not there, and usable in the store's place."""

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from snsnode.base.errors import ConfigError, Exhausted, SnsError, StoreFailed, UsageError
from snsnode.base.ids import PostId, RequestId
from snsnode.control.backup import Report, back_up
from snsnode.store import sqlite_backup
from snsnode.store.sqlite import SqliteStore
from snsnode.store.sqlite_file import APPLICATION_ID
from tests.full_disk import small_disk
from tests.processes import sleeper
from tests.store.conftest import ALICE, OpenSqlite

# Runs in a process of its own, which a test stops while it holds the write lock.
FROZEN_WRITER = """
import apsw
db = apsw.Connection(sys.argv[1])
db.execute("BEGIN IMMEDIATE; INSERT INTO users VALUES ('mallory', 0)")
hold()
"""


def backed_up(path: Path, file: Path, *, force: bool = False) -> Report:
    return back_up(f"sqlite:///{path}", path.parent, file, force=force)


def only(folder: Path, *names: str) -> bool:
    return {path.name for path in folder.iterdir()} == set(names)


def content(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "elsewhere"
    made.mkdir()
    return made


async def test_backup_holds_what_was_acknowledged_and_opens_as_a_store(
    store: SqliteStore, path: Path, folder: Path, open_sqlite: OpenSqlite
) -> None:
    for number in range(50):
        await store.post(ALICE, RequestId(f"r{number}"), f"text {number}")
    report = backed_up(path, folder / "copy")
    assert (report.users, report.posts, report.last_post_id) == (2, 50, 50)
    assert report.size_bytes == (folder / "copy").stat().st_size
    assert (folder / "copy").stat().st_mode & 0o777 == 0o600
    assert only(folder, "copy")

    await store.post(ALICE, RequestId("later"), "not in it")
    restored = await open_sqlite(folder / "copy")
    assert [post.text for post in await restored.posts_after(PostId(0), 100)] == [f"text {n}" for n in range(50)]
    # A client that repeats its post after the restoration is answered as at first.
    assert (await restored.post(ALICE, RequestId("r7"), "text 7")).post_id == 8
    assert (await restored.post(ALICE, RequestId("later"), "not in it")).post_id > 50


async def test_backup_is_of_one_moment_however_much_is_written_meanwhile(
    store: SqliteStore, path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with apsw.Connection(str(path)) as db:
        rows = ((f"r{number}", "x" * 1000) for number in range(500))
        db.executemany(
            "INSERT INTO posts (author, posted_at_ms, request_id, text) VALUES ('alice', 0, ?, ?)", rows
        )
    monkeypatch.setattr(sqlite_backup, "STEP_PAGES", 10)
    other = apsw.Connection(str(path))
    steps = 0

    class Interrupted(apsw.Connection):
        """The copy's connection: another process commits after each step."""

        def backup(self, *arguments: object) -> "Steps":  # type: ignore[override]
            return Steps(super().backup(*arguments))  # type: ignore[arg-type]

    class Steps:
        def __init__(self, backup: apsw.Backup) -> None:
            self.backup = backup

        @property
        def done(self) -> bool:
            return self.backup.done

        def __enter__(self) -> "Steps":
            self.backup.__enter__()
            return self

        def __exit__(self, *exc_info: object) -> None:
            self.backup.__exit__(*exc_info)  # type: ignore[arg-type]

        def step(self, pages: int) -> None:
            nonlocal steps
            steps += 1
            assert steps < 1000, "it begins anew after each commit"
            self.backup.step(pages)
            insert = "INSERT INTO posts (author, posted_at_ms, request_id, text) VALUES ('alice', 0, ?, 'late')"
            other.execute(insert, (f"late{steps}",))

    monkeypatch.setattr(apsw, "Connection", Interrupted)
    report = backed_up(path, folder / "copy")
    other.close()
    assert steps > 10
    assert report.posts == 500


async def test_existing_file_is_replaced_by_force_alone(store: SqliteStore, path: Path, folder: Path) -> None:
    file = folder / "copy"
    file.write_text("precious")
    with pytest.raises(UsageError, match="it exists; name another file, or say --force"):
        backed_up(path, file)
    assert file.read_text() == "precious"
    backed_up(path, file, force=True)
    assert only(folder, "copy")
    assert backed_up(path, folder / "second").users == 2


@pytest.mark.parametrize("name", ["node.json", "cluster.json", "run/master.pid", "log/master.log", "../outline"])
async def test_file_of_a_cluster_is_replaced_by_no_backup(store: SqliteStore, path: Path, name: str) -> None:
    """What an option was meant to replace is an older backup."""
    vm = path.parent / "vm2"
    for each in (vm, vm / "run", vm / "log"):
        each.mkdir()
    (vm / "node.json").write_text("{}")
    (vm / name).write_text("the cluster's own")
    with pytest.raises(UsageError, match="it lies in a cluster's home and is no backup; name another file"):
        backed_up(path, vm / name, force=True)
    assert (vm / name).read_text() == "the cluster's own"
    backed_up(path, vm / "copy")
    assert backed_up(path, vm / "copy", force=True).users == 2


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("force", [True, False])
async def test_store_is_never_backed_up_into_itself(
    store: SqliteStore, path: Path, suffix: str, force: bool
) -> None:
    before = content(path)
    with pytest.raises(UsageError, match="that is the store itself"):
        backed_up(path, path.with_name(path.name + suffix), force=force)
    (path.parent / "link").symlink_to(path.name + suffix)
    with pytest.raises(UsageError, match="that is the store itself"):
        backed_up(path, path.parent / "link", force=force)
    assert content(path) == before


async def test_hard_link_to_the_store_is_the_store(store: SqliteStore, path: Path, folder: Path) -> None:
    (folder / "copy").hardlink_to(path)
    with pytest.raises(UsageError, match="that is the store itself"):
        backed_up(path, folder / "copy", force=True)


async def test_place_that_cannot_be_written_is_one_error(store: SqliteStore, path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="it is a folder"):
        backed_up(path, folder)
    with pytest.raises(UsageError, match="there is no folder"):
        backed_up(path, folder / "missing" / "copy")
    with pytest.raises(SnsError, match="cannot write the backup '/proc/copy'"):
        backed_up(path, Path("/proc/copy"))
    assert only(folder)


async def test_full_disk_is_one_error_and_leaves_nothing(store: SqliteStore, path: Path) -> None:
    with apsw.Connection(str(path)) as db:
        rows = ((f"r{number}", "x" * 1000) for number in range(500))
        db.executemany(
            "INSERT INTO posts (author, posted_at_ms, request_id, text) VALUES ('alice', 0, ?, ?)", rows
        )
    with small_disk() as disk:
        with pytest.raises(Exhausted, match=r"cannot write the backup .*: its disk takes no more"):
            backed_up(path, disk.folder / "copy")
        assert only(disk.folder)
        earlier = disk.folder / "earlier"
        earlier.write_text("precious")
        with pytest.raises(Exhausted):
            backed_up(path, earlier, force=True)
        assert only(disk.folder, "earlier")
        assert earlier.read_text() == "precious"


@pytest.mark.chaos
async def test_frozen_writer_does_not_hold_a_backup_up(store: SqliteStore, path: Path, folder: Path) -> None:
    with sleeper(FROZEN_WRITER, str(path)) as frozen:
        frozen.signal(signal.SIGSTOP, "T")
        assert backed_up(path, folder / "copy").users == 2
        frozen.signal(signal.SIGCONT, "S")


async def test_what_a_killed_backup_left_is_removed_by_the_next(
    store: SqliteStore, path: Path, folder: Path
) -> None:
    with sleeper() as alive:
        busy, pid = f".copy.{alive.process.pid}.tmp", 4_194_304  # a pid above the kernel's largest
        for name in (busy, f".copy.{pid}.tmp", f".copy.{pid}.tmp-wal", f".other.{pid}.tmp"):
            (folder / name).write_text("")
        backed_up(path, folder / "copy")
        left = {"copy", busy, f".other.{pid}.tmp"}
        assert only(folder, *left)


def damage(path: Path) -> None:
    """Overwrite a page in the middle; the first is left alone, so that the file can be opened."""
    with path.open("r+b") as file:
        file.seek(4096 * 8)
        file.write(b"\xff" * 4096 * 4)


async def test_damaged_store_is_not_backed_up(store: SqliteStore, path: Path, folder: Path) -> None:
    for number in range(100):
        await store.post(ALICE, RequestId(f"r{number}"), "x" * 1000)
    await store.close()
    damage(path)
    with pytest.raises(StoreFailed, match=r"it is damaged .* keep your earlier backups"):
        backed_up(path, folder / "copy")
    assert only(folder)


@contextlib.contextmanager
def changed(path: Path, statement: str) -> Iterator[Path]:
    copy = path.with_name("changed.db")
    shutil.copy(path, copy)
    with contextlib.closing(apsw.Connection(str(copy))) as db:
        db.execute(statement)
    yield copy


async def test_file_of_a_newer_version_or_of_another_program_is_refused(
    store: SqliteStore, path: Path, folder: Path
) -> None:
    await store.close()
    with changed(path, "PRAGMA user_version = 99") as newer, pytest.raises(ConfigError, match="a newer snsnode"):
        backed_up(newer, folder / "copy")
    with changed(path, "PRAGMA application_id = 7") as other, pytest.raises(ConfigError, match="another program"):
        backed_up(other, folder / "copy")
    with pytest.raises(SnsError, match="it does not exist"):
        backed_up(path.with_name("none.db"), folder / "copy")
    (folder / "text").write_text("no database, but long enough to be looked at" * 30)
    with pytest.raises(ConfigError, match="it is not a SQLite database"):
        backed_up(folder / "text", folder / "copy")
    assert only(folder, "text")


async def test_backup_is_ours_and_needs_no_file_beside_it(store: SqliteStore, path: Path, folder: Path) -> None:
    backed_up(path, folder / "copy")
    with contextlib.closing(apsw.Connection(str(folder / "copy"), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        assert db.pragma("application_id") == APPLICATION_ID
        assert db.pragma("journal_mode") == "delete"
        assert only(folder, "copy")


def test_postgresql_has_tools_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use pg_dump") as refused:
        back_up("postgresql://sns@db/sns?application_name=hidden", tmp_path, tmp_path / "copy", force=False)
    assert "hidden" not in refused.value.message


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
async def test_file_that_sqlite_would_read_with_the_backup_is_named_and_removed_by_force(
    store: SqliteStore, path: Path, folder: Path, suffix: str
) -> None:
    """A log that another file left, under the name of the backup: its pages would be laid over the new one."""
    side = folder / f"backup.db{suffix}"
    side.write_bytes(b"stale")
    with pytest.raises(UsageError, match=f"backup.db{suffix} of another file lies there"):
        back_up(f"sqlite:///{path}", folder, folder / "backup.db", force=False)
    assert side.read_bytes() == b"stale"
    back_up(f"sqlite:///{path}", folder, folder / "backup.db", force=True)
    assert only(folder, "backup.db")
