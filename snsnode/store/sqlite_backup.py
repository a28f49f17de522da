"""A copy of a SQLite store that is in use, and the check of a file's integrity.

Called by ``control`` for ``snsctl backup`` and ``snsctl doctor``; never by a role. The source is only read, and
nobody waits: in WAL mode writers go on beside a reader. All of the copy is of one moment, that of its first read:
the source's snapshot is held to the end. Without that, SQLite would begin anew after each commit of another
process, and in a busy cluster never end. The price: until the end the log cannot be emptied, and grows.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import apsw

from snsnode.base.errors import Exhausted, SnsError, StoreFailed
from snsnode.base.ids import PostId, shown
from snsnode.store.sqlite_errors import is_no_room, open_error, reason
from snsnode.store.sqlite_file import checked_version, open_reader

STEP_PAGES = 1024  # 4 MiB between two looks at a signal
_LOOK_EVERY_OPCODES = 100_000
_FAULTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds."""

    schema: int
    users: int
    posts: int
    last_post_id: PostId


def back_up(source: Path, target: Path, name: Path) -> Copied:
    """Copy the store ``source`` into the empty file ``target`` and check the copy; the caller makes it durable.

    ``target`` is in the end one file, which needs nothing beside it; messages call it ``name``.

    Raises:
        ConfigError: ``source`` is no store of ours, from a newer version, or cannot be opened.
        Unavailable: ``source`` is locked by a process that is frozen.
        Exhausted: ``target``'s disk is full.
        StoreFailed: ``source`` is damaged, or another error of the disk.
    """
    db = open_reader(source)
    try:
        with db:  # one snapshot
            checked_version(db, source, "back up")
            _copy(db, source, target, name)
    except apsw.Error as error:
        raise open_error(error, source) from error
    finally:
        db.close()
    return _checked(target, source, name)


def faults(db: apsw.Connection, within_s: float | None = None) -> list[str] | None:
    """Return what SQLite finds wrong with the file, in its words, at most a few; None after ``within_s``."""
    end_s = None if within_s is None else time.monotonic() + within_s
    if end_s is not None:
        db.set_progress_handler(lambda: time.monotonic() > end_s, _LOOK_EVERY_OPCODES)
    try:
        rows = db.execute(f"PRAGMA integrity_check({_FAULTS_MAX})").fetchall()
    except apsw.InterruptError:
        return None
    except apsw.Error as error:  # damage, or a disk that cannot be read
        return [reason(error)]
    finally:
        db.set_progress_handler(None)
    found = [str(row[0]) for row in rows]
    return [] if found == ["ok"] else found


def _copy(source: apsw.Connection, path: Path, target: Path, name: Path) -> None:
    try:
        copy = apsw.Connection(str(target))
    except apsw.Error as error:
        raise _write_error(error, name) from error
    try:
        # What fails is thrown away whole: no journal, and at the end one fsync by the caller.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(STEP_PAGES)
    except apsw.CorruptError as error:
        raise _damaged(path, reason(error)) from error
    except apsw.Error as error:
        raise _write_error(error, name) from error
    finally:
        copy.close(force=True)


def _checked(target: Path, source: Path, name: Path) -> Copied:
    db: apsw.Connection | None = None
    try:
        db = apsw.Connection(str(target), flags=apsw.SQLITE_OPEN_READWRITE)
        # The log is the business of a store that is served; a file that is kept shall be one file.
        db.pragma("journal_mode", "delete")
        return _examined(db, source)
    except apsw.Error as error:
        raise _write_error(error, name) from error
    finally:
        if db is not None:
            db.close(force=True)


def _examined(db: apsw.Connection, source: Path) -> Copied:
    wrong = faults(db)
    if wrong:
        raise _damaged(source, "; ".join(wrong))
    schema = checked_version(db, source, "back up")
    if not schema:
        return Copied(0, 0, 0, PostId(0))
    ((users, posts, last),) = db.execute(
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM posts), coalesce(max(id), 0) FROM posts"
    ).fetchall()
    return Copied(schema, cast(int, users), cast(int, posts), PostId(cast(int, last)))


def _write_error(error: apsw.Error, name: Path) -> SnsError:
    what = f"cannot write the backup {shown(str(name), 200)}"
    if is_no_room(error):
        return Exhausted(f"{what}: its disk takes no more ({reason(error)}); free space there, or name another")
    return StoreFailed(f"{what}: {reason(error)}")


def _damaged(path: Path, words: str) -> StoreFailed:
    return StoreFailed(
        f"cannot back up the store {shown(str(path), 200)}: it is damaged ({words}); keep your earlier backups, "
        "and restore the newest"
    )
