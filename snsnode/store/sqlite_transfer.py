"""The SQLite engine's side of moving a store: ``Source`` and ``Target`` over one file.

Called by ``control.store_copy``. A source is held by a write transaction that writes nothing: a server that is
started meanwhile cannot post into what was copied already. A target carries another id in its header until it is
complete, so that no server takes half a store for a whole one.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar, cast

import apsw

from snsnode.base.errors import ConfigError, NotAllowed, StoreFailed
from snsnode.base.ids import PostId, shown
from snsnode.store.sqlite_batch import roll_back
from snsnode.store.sqlite_errors import read_error, reason, write_error
from snsnode.store.sqlite_file import (
    APPLICATION_ID,
    COPYING_ID,
    bring_up_to_date,
    checked_version,
    open_exclusively,
    open_unprepared,
)
from snsnode.store.transfer import END, TABLES, Contents, Position, Row, Table, position

_COUNTS = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table.name})" for table in TABLES)
# Of one row: what is copied, and how far it has come.
_MARK = "CREATE TABLE copying (origin TEXT NOT NULL, position TEXT NOT NULL) STRICT"

_T = TypeVar("_T")


class SqliteSource:
    """``Source`` over one file. Its methods are documented there."""

    def __init__(self, db: apsw.Connection) -> None:
        """Use ``open``."""
        self._db = db
        self._in_use = threading.Lock()  # a cancelled step runs on to its end on its thread, and ``close`` waits

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the store at ``path`` and keep writers out of it.

        Raises:
            ConfigError: there is no store of ours, or a newer version's, or an unfinished copy.
            Unavailable: another process holds it locked.
        """
        db = await asyncio.to_thread(open_exclusively, path)
        try:
            if not checked_version(db, path, "copy"):
                raise ConfigError(f"cannot copy the store {shown(str(path), 200)}: it is an empty file")
        except BaseException:
            db.close(force=True)
            raise
        return cls(db)

    async def contents(self) -> Contents:
        """As ``Source.contents``."""
        return await self._on_thread(self._contents)

    async def rows(self, table: Table, after: Row, limit: int) -> list[Row]:
        """As ``Source.rows``."""
        return await self._on_thread(lambda: self._rows(table, after, limit))

    async def close(self) -> None:
        """As ``Source.close``. What a transaction has not committed is taken back."""
        await self._on_thread(lambda: self._db.close(force=True))

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        def alone() -> _T:
            with self._in_use:
                return work()

        return await asyncio.to_thread(alone)

    def _contents(self) -> Contents:
        try:
            return _contents(self._db)
        except apsw.Error as error:
            raise read_error(error) from error

    def _rows(self, table: Table, after: Row, limit: int) -> list[Row]:
        key = ", ".join(table.key)
        where = f"WHERE ({key}) > ({', '.join('?' * len(after))})" if after else ""
        query = f"SELECT {', '.join(table.columns)} FROM {table.name} {where} ORDER BY {key} LIMIT ?"
        try:
            return cast(list[Row], self._db.execute(query, (*after, limit)).fetchall())
        except apsw.Error as error:
            raise read_error(error) from error


class SqliteTarget(SqliteSource):
    """``Target`` over one file."""

    def __init__(self, db: apsw.Connection, path: Path) -> None:
        """Use ``open_or_make``."""
        super().__init__(db)
        self._path = path

    @classmethod
    async def open_or_make(cls, path: Path) -> Self:
        """Open the file at ``path``, made where there is none; ``begin`` looks at what is in it.

        Raises:
            ConfigError: the folder is missing, or it is no SQLite file.
            Unavailable, Exhausted: it is locked, or there is no room.
        """
        return cls(await asyncio.to_thread(open_unprepared, path), path)

    async def begin(self, origin: str, *, from_scratch: bool) -> Position:
        """As ``Target.begin``."""
        return await self._on_thread(lambda: self._within(lambda: self._begin(origin, from_scratch)))

    async def add(self, rows: Sequence[Row], here: Position, there: Position) -> None:
        """As ``Target.add``."""
        await self._on_thread(lambda: self._within(lambda: self._add(rows, here, there)))

    async def finish(self, contents: Contents) -> None:
        """As ``Target.finish``."""
        await self._on_thread(lambda: self._within(lambda: self._finish(contents)))

    def _within(self, work: Callable[[], _T]) -> _T:
        """Do ``work`` in one durable transaction."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            result = work()
            self._db.execute("COMMIT")
        except BaseException as error:
            roll_back(self._db)
            if isinstance(error, apsw.ConstraintError):
                raise StoreFailed(f"cannot copy into {shown(str(self._path), 200)}: {reason(error)}") from error
            if isinstance(error, apsw.Error):
                raise write_error(error) from error
            raise
        return result

    def _begin(self, origin: str, from_scratch: bool) -> Position:
        what = f"cannot copy into {shown(str(self._path), 200)}"
        if self._db.pragma("application_id") == COPYING_ID:
            ((known, text),) = self._db.execute("SELECT origin, position FROM copying").fetchall()
            if known == origin and not from_scratch:
                return position(str(text))
            if not from_scratch:
                raise NotAllowed(
                    f"{what}: it holds an unfinished copy of a store that was not as this one is now; was there a "
                    "server at work in between? --from-scratch removes it and begins anew"
                )
            for table in TABLES:
                self._db.execute(f"DELETE FROM {table.name}")
            self._db.execute("DROP TABLE copying")
        else:
            bring_up_to_date(self._db, checked_version(self._db, self._path, "copy into"))
            contents = _contents(self._db)
            if not contents.is_empty and contents.may_be_copy_of(origin):
                return END
            if not contents.is_empty:
                raise NotAllowed(f"{what}: it holds users and posts of its own; name one that is empty or new")
        self._db.execute(_MARK)
        self._db.execute("INSERT INTO copying VALUES (?, ?)", (origin, Position().text()))
        self._db.pragma("application_id", COPYING_ID)
        return Position()

    def _add(self, rows: Sequence[Row], here: Position, there: Position) -> None:
        moved = "UPDATE copying SET position = ? WHERE position = ? RETURNING 1"
        if not self._db.execute(moved, (there.text(), here.text())).fetchall():
            raise NotAllowed(f"cannot copy into {shown(str(self._path), 200)}: another copy is at work in it")
        table = TABLES[here.table]
        values = ", ".join("?" * len(table.columns))
        insert = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({values})"
        self._db.executemany(insert, rows)

    def _finish(self, contents: Contents) -> None:
        if self._db.pragma("application_id") != COPYING_ID:
            return
        last = max(contents.last_post_id, _contents(self._db).last_post_id)
        self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'posts'")
        self._db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('posts', ?)", (last,))
        self._db.executemany(
            "INSERT INTO servers (vm, epoch) VALUES (?, ?) "
            "ON CONFLICT (vm) DO UPDATE SET epoch = max(epoch, excluded.epoch)",
            contents.epochs,
        )
        self._db.execute("DROP TABLE copying")
        self._db.pragma("application_id", APPLICATION_ID)


def _contents(db: apsw.Connection) -> Contents:
    (counts,) = db.execute(_COUNTS).fetchall()
    epochs = db.execute("SELECT vm, epoch FROM servers ORDER BY vm").fetchall()
    # The sequence may be ahead of the posts, where some were removed by hand: an id is never given twice.
    sequence = "SELECT coalesce(max(seq), 0) FROM (SELECT seq FROM sqlite_sequence WHERE name = 'posts')"
    ((last,),) = db.execute(sequence).fetchall()
    return Contents(cast(tuple[int, ...], counts), PostId(cast(int, last)), tuple(epochs))  # type: ignore[arg-type]
