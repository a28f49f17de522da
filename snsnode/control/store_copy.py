"""Moving a store: rows from one engine into another, checked by reading both, and resumable.

Called by ``snsctl store copy``. The way is planned in ``store.transfer``; here it is walked. First every table is
copied, chunk by chunk; then all of both stores is read again and compared; only then is the target a store.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snsnode.base.errors import Held, NotAllowed, UsageError
from snsnode.base.ids import PATH_SHOWN, shown
from snsnode.control.files import is_same_file, why_not_writable
from snsnode.control.processes import holders
from snsnode.store.engines import check_sqlite_files, open_postgresql_target, sqlite_path
from snsnode.store.transfer import (
    CHUNK_ROWS,
    TABLES,
    Contents,
    Position,
    Source,
    Target,
    difference,
    following,
)

SQLITE = "sqlite://"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a copy has come: ``done`` of ``total`` rows of ``table`` are copied, or compared."""

    verb: str  # "copying" or "comparing"
    table: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What a finished copy brought; ``resumed`` rows of it had been copied before."""

    contents: Contents
    resumed: int


Tell = Callable[[Progress], None]


async def move(origin: str, destination: str, home: Path, tell: Tell, *, from_scratch: bool = False) -> Moved:
    """Copy the store at the URL ``origin`` into the one at ``destination``; see ``copy``.

    Raises:
        UsageError: ``origin`` is no SQLite store, or both are the same.
        Held: a process has one of the files open.
        SnsError: as ``copy``, and as opening either store.
    """
    if not origin.startswith(SQLITE):
        raise UsageError(
            "cannot copy from a PostgreSQL store: only a SQLite store can be moved; for a second PostgreSQL use "
            "pg_dump and pg_restore"
        )
    source_path = sqlite_path(origin, home)
    check_sqlite_files(source_path)
    check_unused(source_path, "from")
    if destination.startswith(SQLITE):
        target_path = sqlite_path(destination, home)
        if is_same_file(source_path, target_path):
            raise UsageError(
                f"cannot copy the store {shown(str(source_path), PATH_SHOWN)} into itself; name another file"
            )
        if other := why_not_writable(target_path):
            raise UsageError(f"cannot copy into {shown(str(target_path), PATH_SHOWN)}: it is {other}")
        check_sqlite_files(target_path)
        check_unused(target_path, "into")
    from snsnode.store.sqlite_transfer import SqliteSource

    source = await SqliteSource.open(source_path)
    async with contextlib.AsyncExitStack() as opened:
        opened.push_async_callback(source.close)
        check_unused(source_path, "from")  # who opens it from now on cannot write
        target = await _open_target(destination, home)
        opened.push_async_callback(target.close)
        if destination.startswith(SQLITE):
            check_unused(target_path, "into")  # who opened it since the first look
        return await copy(source, target, tell, from_scratch=from_scratch)


def check_unused(path: Path, way: str) -> None:
    """Refuse a SQLite file that another process has open; ``way`` is "from" or "into".

    Raises:
        Held: with the process, and what to do.
    """
    for who in holders((path, path.with_name(path.name + "-shm"))):
        raise Held(
            f"cannot copy {way} the store {shown(str(path), PATH_SHOWN)}: {who} has it open, and may write to it; "
            "run 'snsctl stop' for its cluster first"
        )


async def _open_target(url: str, home: Path) -> Target:
    if not url.startswith(SQLITE):
        return await open_postgresql_target(url, home)
    from snsnode.store.sqlite_transfer import SqliteTarget

    return await SqliteTarget.open_or_make(sqlite_path(url, home))


async def copy(source: Source, target: Target, tell: Tell, *, from_scratch: bool = False) -> Moved:
    """Copy all of ``source`` into ``target``, compare them, and complete the target.

    Raises:
        NotAllowed: as ``Target.begin`` and ``Target.add``; or the source has changed since it was copied.
        StoreFailed, Exhausted, Unavailable: as the engines say. What was copied stays: the next call goes on.
    """
    contents = await source.contents()
    here = await target.begin(contents.text(), from_scratch=from_scratch)
    resumed = sum(contents.rows[: here.table]) + here.done
    while not here.is_end:
        tell(_progress("copying", contents, here))
        rows = await source.rows(TABLES[here.table], here.after, CHUNK_ROWS)
        there = following(here, rows)
        await target.add(rows, here, there)
        here = _passed("copying", contents, here, there, tell)
    await _compare(source, target, contents, tell)
    await target.finish(contents)
    return Moved(contents, resumed)


async def _compare(source: Source, target: Target, contents: Contents, tell: Tell) -> None:
    """Read both from end to end, chunk by chunk."""
    here = Position()
    while not here.is_end:
        tell(_progress("comparing", contents, here))
        table = TABLES[here.table]
        ours = await source.rows(table, here.after, CHUNK_ROWS)
        theirs = await target.rows(table, here.after, CHUNK_ROWS)
        differs_at = difference(table, ours, theirs)
        if differs_at is not None:
            raise NotAllowed(
                f"cannot complete the copy: the row {shown(str(differs_at))} of {table.name} is not the same in "
                "both stores; if a server wrote to the first one, stop it and run this again with --from-scratch"
            )
        here = _passed("comparing", contents, here, following(here, ours), tell)


def _passed(verb: str, contents: Contents, here: Position, there: Position, tell: Tell) -> Position:
    """Say that a table is complete where ``there`` is in the next one; return ``there``."""
    if there.table != here.table:
        total = contents.rows[here.table]
        tell(Progress(verb, TABLES[here.table].name, total, total))
    return there


def _progress(verb: str, contents: Contents, here: Position) -> Progress:
    return Progress(verb, TABLES[here.table].name, here.done, contents.rows[here.table])
