"""Full and failing disks: posts are refused, reads go on, and writes come back by themselves."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from snsnode.base.errors import ConfigError, Exhausted, SnsError, StoreFailed, Unavailable
from snsnode.base.ids import PostId, RequestId
from snsnode.store.sqlite import SqliteStore
from snsnode.store.sqlite_errors import open_error, read_error, write_error
from tests.store.conftest import ALICE, OpenSqlite, make_users

pytestmark = pytest.mark.chaos

DISK_BYTES = 2 * 2**20
TEXT = "x" * 1000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs"]
    if os.geteuid() != 0 or subprocess.run(["mount", *options, str(folder)], check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take the last byte of the disk; return the file that holds it."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
    except OSError:
        return filler


async def post_until_refused(store: SqliteStore, first: int) -> int:
    """Post numbered texts; return the number of the one that was refused for want of room."""
    for number in range(first, first + 10_000):
        try:
            await store.post(ALICE, RequestId(f"r{number}"), f"{number} {TEXT}")
        except Exhausted as refusal:
            assert "cannot write to the store: its disk takes no more" in refusal.message
            return number
    raise AssertionError("the disk never filled up")


async def numbers(store: SqliteStore) -> list[int]:
    return [int(post.text.split()[0]) for post in await store.posts_after(PostId(0), 100_000)]


async def test_full_disk_refuses_posts_keeps_reads_and_recovers(small_disk: Path, open_sqlite: OpenSqlite) -> None:
    store = await open_sqlite(small_disk / "sns.db")
    await make_users(store)
    await store.post(ALICE, RequestId("r0"), f"0 {TEXT}")
    filler = fill(small_disk)
    refused = await post_until_refused(store, first=1)
    assert await numbers(store) == list(range(refused))
    assert len((await store.history(ALICE)).posts) == min(refused, 20)
    with pytest.raises(Exhausted):
        await store.post(ALICE, RequestId("again"), TEXT)

    newcomer = await open_sqlite(small_disk / "sns.db")  # A restarted server on the full disk.
    assert await numbers(newcomer) == list(range(refused))

    filler.unlink()
    again = await post_until_refused(store, first=refused)
    assert again > refused
    assert await numbers(newcomer) == list(range(again))


async def test_disk_that_filled_up_while_serving_can_be_opened_and_read_again(
    small_disk: Path, open_sqlite: OpenSqlite
) -> None:
    store = await open_sqlite(small_disk / "sns.db")
    await make_users(store)
    refused = await post_until_refused(store, first=0)
    await store.close()
    fill(small_disk)
    store = await open_sqlite(small_disk / "sns.db")
    assert await numbers(store) == list(range(refused))


async def test_disk_that_filled_up_while_stopped_is_named_and_harms_nothing(
    small_disk: Path, open_sqlite: OpenSqlite
) -> None:
    store = await open_sqlite(small_disk / "sns.db")
    await make_users(store)
    await store.close()
    filler = fill(small_disk)
    with pytest.raises(Exhausted, match=r"cannot open the store .*: its disk takes no more"):
        await open_sqlite(small_disk / "sns.db")  # Even reading needs 32 KiB, for the index of the log.
    filler.unlink()
    store = await open_sqlite(small_disk / "sns.db")
    await store.post(ALICE, RequestId("r0"), f"0 {TEXT}")
    assert await numbers(store) == [0]


async def test_new_store_on_a_full_disk_is_refused(small_disk: Path, open_sqlite: OpenSqlite) -> None:
    filler = fill(small_disk)
    with pytest.raises(Exhausted):
        await open_sqlite(small_disk / "sns.db")
    filler.unlink()
    await make_users(await open_sqlite(small_disk / "sns.db"))


async def test_file_size_limit_is_a_full_disk(store: SqliteStore) -> None:
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        refused = await post_until_refused(store, first=0)
        assert await numbers(store) == list(range(refused))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    await store.post(ALICE, RequestId(f"r{refused}"), f"{refused} {TEXT}")
    assert await numbers(store) == list(range(refused + 1))


WRITE_ERRORS: list[tuple[int, type[SnsError]]] = [
    (apsw.SQLITE_FULL, Exhausted),
    (apsw.SQLITE_READONLY, Exhausted),
    (apsw.SQLITE_READONLY_DBMOVED, Exhausted),
    (apsw.SQLITE_IOERR_WRITE, Exhausted),
    (apsw.SQLITE_IOERR_FSYNC, Exhausted),
    (apsw.SQLITE_IOERR_SHMSIZE, Exhausted),
    (apsw.SQLITE_CANTOPEN, Exhausted),
    (apsw.SQLITE_BUSY, Unavailable),
    (apsw.SQLITE_BUSY_SNAPSHOT, Unavailable),
    (apsw.SQLITE_IOERR_READ, StoreFailed),
    (apsw.SQLITE_CORRUPT, StoreFailed),
]


@pytest.mark.parametrize(("code", "expected"), WRITE_ERRORS)
def test_error_of_a_write_has_its_class(code: int, expected: type[SnsError]) -> None:
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    failure = write_error(error)
    assert type(failure) is expected
    assert failure.message.startswith("cannot write to the store: ")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (apsw.SQLITE_BUSY_RECOVERY, Unavailable),
        (apsw.SQLITE_IOERR_READ, StoreFailed),
        (apsw.SQLITE_CORRUPT, StoreFailed),
    ],
)
def test_error_of_a_read_has_its_class(code: int, expected: type[SnsError]) -> None:
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    assert type(read_error(error)) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (apsw.SQLITE_BUSY, Unavailable),
        (apsw.SQLITE_NOTADB, ConfigError),
        (apsw.SQLITE_CANTOPEN, ConfigError),
        (apsw.SQLITE_FULL, Exhausted),
        (apsw.SQLITE_CORRUPT, StoreFailed),
    ],
)
def test_error_of_opening_has_its_class(code: int, expected: type[SnsError]) -> None:
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    failure = open_error(error, Path("/home/sns.db"))
    assert type(failure) is expected
    assert failure.message.startswith("cannot open the store '/home/sns.db': ")
