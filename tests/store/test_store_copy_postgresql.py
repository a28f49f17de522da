"""Moving a SQLite store into PostgreSQL: all of it, checked, once, and on from where a killed copy ended."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from snsnode.base.errors import AlreadyDone, ConfigError, Held, NotAllowed, SnsError, Unavailable
from snsnode.base.ids import ClientId, Epoch, PostId, RequestId, VmName
from snsnode.control.store_copy import Moved, Progress, copy, move
from snsnode.node.process import identify, send_signal
from snsnode.store import postgresql_transfer, transfer
from snsnode.store.engines import open_store
from snsnode.store.postgresql_transfer import PostgresqlTarget
from snsnode.store.protocol import Login, Store
from snsnode.store.sqlite_transfer import SqliteSource
from snsnode.store.transfer import Contents, Position, Row
from tests.postgresql_rig import Postgresql
from tests.store.conftest import ALICE, BOB
from tests.store.test_store_copy import CHUNK, POSTS, VM, full, quiet, small_chunks, tables

__all__ = ["full", "small_chunks"]

Open = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["template1", "sns_template"])
def url(postgresql: Postgresql, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without tables, and one that a server has opened once."""
    database = postgresql.make_database(**({"template": "template1"} if request.param == "template1" else {}))
    yield postgresql.url(database)
    postgresql.drop_database(database)


@pytest.fixture
async def open_it(url: str, tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[Store] = []

    async def open_one() -> Store:
        opened.append(await open_store(url, tmp_path))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


def read(postgresql: Postgresql, url: str, table: str, columns: str = "*") -> str:
    return postgresql.psql(f"SELECT {columns} FROM {table} ORDER BY 1, 2", url.rpartition("/")[2])


async def moved(path: Path, url: str, *, from_scratch: bool = False) -> Moved:
    return await move(f"sqlite:///{path}", url, path.parent, quiet, from_scratch=from_scratch)


async def rows_of(url: str, home: Path) -> dict[str, list[Row]]:
    target = await PostgresqlTarget.open(url, home)
    try:
        return {table.name: await target.rows(table, (), 1000) for table in transfer.TABLES}
    finally:
        await target.close()


async def test_copy_has_every_row_and_goes_on_as_the_first_would(
    full: Path, url: str, tmp_path: Path, open_it: Open
) -> None:
    assert (await moved(full, url)).contents.rows == (3, POSTS + 1, 1, 1)
    ours = tables(full)
    assert await rows_of(url, tmp_path) == {name: ours[name] for name in ours if name != "servers"}

    store = await open_it()
    assert (await store.post(ALICE, RequestId("before"), "before bob followed")).post_id == 1
    await store.follow(BOB, ALICE, RequestId("follow"))
    with pytest.raises(AlreadyDone):
        await store.post(BOB, RequestId("follow"), "another use")
    assert (await store.timeline_after(BOB, PostId(0), 3))[0].post_id > 1
    assert (await store.post(BOB, RequestId("new"), "new")).post_id > POSTS + 1
    assert await store.claim_epoch(VM, Epoch(1)) == 42


async def test_epochs_never_fall(full: Path, url: str, open_it: Open) -> None:
    before = await open_it()
    await before.claim_epoch(VM, Epoch(100))
    await before.close()
    await moved(full, url)
    store = await open_it()
    assert await store.claim_epoch(VM, Epoch(1)) == 101
    assert await store.claim_epoch(VmName("vm9"), Epoch(1)) == 1


class Killed(Exception):
    """The copying process ended here."""


class Dying(PostgresqlTarget):
    """Dies after some transactions."""

    left = 0

    async def add(self, rows: Sequence[Row], here: Position, there: Position) -> None:
        if not self.left:
            raise Killed
        self.left -= 1
        await super().add(rows, here, there)


async def killed_after(transactions: int, path: Path, url: str) -> None:
    source, target = await SqliteSource.open(path), await Dying.open(url, path.parent)
    target.left = transactions
    with pytest.raises(Killed):
        await copy(source, target, quiet)
    await source.close()
    await target.close()


@pytest.mark.parametrize("transactions", [0, 2, 6])
async def test_killed_copy_goes_on_after_its_last_transaction(
    full: Path, url: str, tmp_path: Path, open_it: Open, transactions: int
) -> None:
    await killed_after(transactions, full, url)
    with pytest.raises(ConfigError, match="a copy that is not complete"):
        await open_it()
    assert (await moved(full, url)).resumed == {0: 0, 2: 10, 6: 30}[transactions]
    ours = tables(full)
    assert await rows_of(url, tmp_path) == {name: ours[name] for name in ours if name != "servers"}
    await open_it()


class Unheard(PostgresqlTarget):
    """Dies after its last transaction, before anybody hears of it."""

    async def finish(self, contents: Contents) -> None:
        await super().finish(contents)
        raise Killed


async def test_copy_that_ended_without_a_word_is_compared_and_done(
    full: Path, url: str, tmp_path: Path, open_it: Open
) -> None:
    source, target = await SqliteSource.open(full), await Unheard.open(url, tmp_path)
    with pytest.raises(Killed):
        await copy(source, target, quiet)
    await source.close()
    await target.close()
    again = await moved(full, url)
    assert again.resumed == sum(again.contents.rows)
    await open_it()


class Overtaken(PostgresqlTarget):
    """A server opens the database after we looked, and before we mark it."""

    looks = 0

    async def _refuse_while_used(self) -> None:
        self.looks += 1
        if self.looks == 2:
            raise Held("a server has it open")


async def test_server_that_came_before_the_mark_is_noticed_and_the_mark_taken_back(
    full: Path, url: str, tmp_path: Path, open_it: Open
) -> None:
    source, target = await SqliteSource.open(full), await Overtaken.open(url, tmp_path)
    with pytest.raises(Held):
        await copy(source, target, quiet)
    await source.close()
    await target.close()
    await open_it()


@pytest.mark.parametrize("sending", [False, True])
async def test_server_that_hangs_is_one_error(
    full: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sending: bool
) -> None:
    source, target = await SqliteSource.open(full), await PostgresqlTarget.open(url, tmp_path)
    await target.begin((await source.contents()).text(), from_scratch=False)
    monkeypatch.setattr(postgresql_transfer, "COMMAND_S", 0.5)
    backend = identify(target._db.get_server_pid())
    assert backend is not None and send_signal(backend, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match="said nothing"):
            if sending:  # more than the sockets hold
                rows = [(n, ALICE, 0, "x" * 4000, f"r{n}") for n in range(10_000)]
                async with target._asked("write to"):
                    await target._db.copy_records_to_table(
                        "posts", records=rows, columns=transfer.TABLES[1].columns
                    )
            else:
                await target.contents()
        assert (task := asyncio.current_task()) is not None and not task.cancelling()
    finally:
        send_signal(backend, signal.SIGCONT)
        await source.close()
        await target.close()


async def test_source_that_changed_in_between_is_noticed(full: Path, url: str, tmp_path: Path) -> None:
    await killed_after(3, full, url)
    store = await open_store(f"sqlite:///{full}", tmp_path)
    await store.post(BOB, RequestId("late"), "late")
    await store.close()
    with pytest.raises(NotAllowed, match="not as this one is now"):
        await moved(full, url)
    assert (await moved(full, url, from_scratch=True)).resumed == 0
    assert len((await rows_of(url, tmp_path))["posts"]) == POSTS + 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE posts SET text = 'other' WHERE id = 3",
        "DELETE FROM posts WHERE id = 26",
        "INSERT INTO users VALUES ('zoe', 0)",
        "UPDATE follows SET after_id = 0",
    ],
)
async def test_row_that_differs_is_found_and_the_copy_not_completed(
    full: Path, url: str, tmp_path: Path, open_it: Open, postgresql: Postgresql, statement: str
) -> None:
    def spoil(progress: Progress) -> None:
        if (progress.verb, progress.table, progress.done) == ("comparing", "users", 0):
            postgresql.psql(statement, url.rpartition("/")[2])

    with pytest.raises(NotAllowed, match="is not the same in both stores"):
        await move(f"sqlite:///{full}", url, tmp_path, spoil)
    with pytest.raises(ConfigError, match="a copy that is not complete"):
        await open_it()


async def test_store_with_data_of_its_own_is_not_touched(full: Path, url: str, open_it: Open) -> None:
    store = await open_it()
    await store.login(Login(BOB, ClientId("client")), lease_s=60)
    await store.close()
    for from_scratch in (False, True):
        with pytest.raises(NotAllowed, match="it holds users and posts of its own"):
            await moved(full, url, from_scratch=from_scratch)
    assert (await (await open_it()).users("", 10)).names == (BOB,)


async def test_database_that_a_server_has_open_is_refused(
    full: Path, url: str, open_it: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_transfer, "LEAVING_S", 0.2)
    await open_it()
    with pytest.raises(Held, match="snsctl stop"):
        await moved(full, url)


async def test_two_copies_at_once_do_not_mix(full: Path, url: str, tmp_path: Path) -> None:
    source = await SqliteSource.open(full)
    target = await PostgresqlTarget.open(url, tmp_path)
    here = await target.begin((await source.contents()).text(), from_scratch=False)
    rows = await source.rows(transfer.TABLES[0], (), CHUNK)
    await target.add(rows, here, Position(1))
    with pytest.raises(NotAllowed, match="another copy is at work"):
        await target.add(rows, here, Position(1))
    await source.close()
    await target.close()


async def test_server_that_dies_is_one_error_and_the_copy_goes_on(
    full: Path, url: str, tmp_path: Path, postgresql: Postgresql
) -> None:
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'snsnode'"

    def cut(progress: Progress) -> None:
        if progress.table == "posts" and progress.done:
            postgresql.psql(ended)

    with pytest.raises(SnsError, match=r"cannot (write to|read) the store"):
        await move(f"sqlite:///{full}", url, tmp_path, cut)
    assert (await moved(full, url)).resumed > 3
