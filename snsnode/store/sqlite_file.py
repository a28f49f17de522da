"""The SQLite file: making it, checking that it is ours, migrating it, and connections to it.

Called by ``sqlite`` when a store is opened, and by nothing later. A file of today's schema is only read: a warm
spare holds the store open without a trace. The folder is never made here; the cluster's home is snsctl's.
"""

import errno
import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import apsw

from snsnode.base.errors import ConfigError, Exhausted, SnsError, Unavailable
from snsnode.base.ids import shown
from snsnode.store.sqlite_errors import open_error, reason
from snsnode.store.statements import additions, migrations, statements

_log = logging.getLogger(__name__)

APPLICATION_ID = 0x736E7331  # "sns1" in the file's header: what tells our file from another program's
COPYING_ID = 0x736E7363  # "snsc": a copy that is not finished, which must not be served
FILE_MODE = 0o600  # SQLite gives the -wal and -shm files the mode of the file itself

# Of this process or machine, for a moment: no fault of the file, and none that somebody must mend.
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)

# How long to wait for another process that holds the write lock. A batch holds it for milliseconds; a process
# frozen inside one holds it until its partner kills it, which takes the pair about as long as this at worst.
BUSY_S = 5.0
_BUSY_STEP_S = 0.001  # SQLite's own handler backs off to 100 ms, which starves the loser of two busy masters

# Holds the upper parts of the index that timelines seek in: over 10^6 posts and 2,000 followees 32 MiB reads
# three to six times as fast as 8 MiB. A small store never fills it.
_READER_CACHE_KIB = 32 * 1024
_LOG_KEPT_BYTES = 64 * 2**20  # the -wal file is cut to this once a burst of posts is over


def open_writer(path: Path) -> apsw.Connection:
    """Return the connection that writes; make or migrate the file where needed.

    Raises:
        ConfigError: the folder is missing, the file is not ours, from a newer version, or not writable.
        Unavailable: another process held it locked for ``BUSY_S``.
        Exhausted: no room for a new file.
        StoreFailed: the file is damaged.
    """
    _create(path)
    return _opened(path, apsw.SQLITE_OPEN_READWRITE, lambda db: _prepare(db, path))


def open_reader(path: Path) -> apsw.Connection:
    """Return a connection that can only read a file that ``open_writer`` has prepared.

    Raises:
        ConfigError, Unavailable, Exhausted, StoreFailed: as ``open_writer``.
    """
    return _opened(path, apsw.SQLITE_OPEN_READONLY, _warm)


def open_exclusively(path: Path) -> apsw.Connection:
    """Return a connection inside a write transaction: until it is closed nobody else can write.

    Raises:
        ConfigError, Unavailable, StoreFailed: as ``open_writer``; a missing file is not made.
    """
    if not path.exists():
        raise ConfigError(f"cannot open the store {shown(str(path), 200)}: there is no such file")
    return _opened(path, apsw.SQLITE_OPEN_READWRITE, _hold)


def open_unprepared(path: Path) -> apsw.Connection:
    """Return a connection that can write, to a file of whatever content; it is made where there is none.

    Raises:
        ConfigError, Unavailable, Exhausted, StoreFailed: as ``open_writer``.
    """
    _create(path)
    return _opened(path, apsw.SQLITE_OPEN_READWRITE, _log_first)


def close(db: apsw.Connection) -> None:
    """Close ``db`` for good; what keeps it from that is logged, and never raised.

    Raised, it would end the thread that closes, and whoever waits for that thread would wait for ever.
    """
    try:
        db.close()
    except Exception:  # noqa: BLE001 - the boundary of the thread
        _log.exception("cannot close the store %s in order; dropping its connection", db.filename)
        with suppress(Exception):
            db.close(force=True)


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at ``path``, None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _create(path: Path) -> None:
    what = f"cannot open the store {shown(str(path), 200)}"
    try:
        # O_EXCL, so that an existing file is never opened and closed here: closing any descriptor of a file
        # drops all POSIX locks that this process holds on it, SQLite's too.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    except FileExistsError:
        return
    except FileNotFoundError:
        folder = shown(str(path.parent), 200)
        raise ConfigError(f"{what}: there is no folder {folder}; make it, or set another home") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Exhausted(f"{what}: its disk is full; free space there") from None
        if error.errno in _SHORTAGES:
            raise Unavailable(f"{what}: {error.strerror}; try again") from None
        raise ConfigError(f"{what}: {error.strerror}") from None


def _opened(path: Path, flags: int, prepare: Callable[[apsw.Connection], None]) -> apsw.Connection:
    try:
        db = apsw.Connection(str(path), flags=flags)
    except apsw.Error as error:
        raise _failed(error, path) from error
    try:
        db.set_busy_handler(_patience())
        # A commit is in the log, and the log on the disk, before COMMIT returns.
        db.execute("PRAGMA synchronous = FULL")
        # Sorting must not need room on a disk that is full.
        db.execute("PRAGMA temp_store = MEMORY")
        _retry_busy(lambda: prepare(db))
    except BaseException as error:
        db.close(force=True)
        if isinstance(error, apsw.Error):
            raise _failed(error, path) from error
        raise
    return db


def _failed(error: apsw.Error, path: Path) -> SnsError:
    """Return what opening raises; SQLite does not tell a file that cannot be opened from a want of descriptors."""
    if isinstance(error, apsw.CantOpenError):
        try:
            os.close(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as shortage:
            return Unavailable(f"cannot open the store {shown(str(path), 200)}: {shortage.strerror}; try again")
    return open_error(error, path)


def _warm(db: apsw.Connection) -> None:
    db.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    db.execute("SELECT 1 FROM sqlite_schema").fetchall()  # reads the schema now, not at the first request


def _hold(db: apsw.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")


def _log_first(db: apsw.Connection) -> None:
    if db.pragma("journal_mode") != "wal":
        db.pragma("journal_mode", "wal")


def _patience() -> Callable[[int], bool]:
    """Return a busy handler that waits in small uneven steps, ``BUSY_S`` in all."""
    give_up_at = 0.0

    def wait(attempt: int) -> bool:
        nonlocal give_up_at
        if attempt == 0:
            give_up_at = time.monotonic() + BUSY_S
        time.sleep(random.uniform(0.2, 1.0) * _BUSY_STEP_S)
        return time.monotonic() < give_up_at

    return wait


def _retry_busy(action: Callable[[], None]) -> None:
    """Repeat ``action`` while the file is locked: SQLite calls no busy handler for a change of journal mode."""
    give_up_at = time.monotonic() + BUSY_S
    while True:
        try:
            return action()
        except apsw.BusyError:
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(_BUSY_STEP_S)


def _prepare(db: apsw.Connection, path: Path) -> None:
    latest = migrations("sqlite")[-1].number
    with db:
        version = checked_version(db, path)
    _log_first(db)
    if version < latest:
        _migrate(db, path)
    elif not _has_additions(db):
        _add(db, path)
    db.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT_BYTES}")


def _migrate(db: apsw.Connection, path: Path) -> None:
    """Bring the schema up to date in one transaction; whoever comes second finds nothing left to do."""
    db.execute("BEGIN EXCLUSIVE")
    try:
        bring_up_to_date(db, checked_version(db, path))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _has_additions(db: apsw.Connection) -> bool:
    return bool(db.execute(statements("sqlite")["has_additions"]).fetchall())


def _add(db: apsw.Connection, path: Path) -> None:
    """Add what is missing to a schema of the last number; a store that cannot take it now is served without."""
    try:
        db.execute("BEGIN IMMEDIATE")
        db.execute(additions("sqlite").read_text(encoding="utf-8"))
        db.execute("COMMIT")
    except apsw.Error as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        where = shown(str(path), 200)
        _log.warning("cannot add an index to %s (%s); going on without, which is slower", where, reason(error))


def bring_up_to_date(db: apsw.Connection, version: int) -> None:
    """Run the migrations above ``version`` and the additions, inside the caller's transaction."""
    for migration in migrations("sqlite"):
        if migration.number > version:
            db.execute(migration.path.read_text(encoding="utf-8"))
            db.execute(f"PRAGMA user_version = {migration.number}")
    if not _has_additions(db):
        db.execute(additions("sqlite").read_text(encoding="utf-8"))


def checked_version(db: apsw.Connection, path: Path, verb: str = "open") -> int:
    """Return the schema's version, 0 for an empty file, read inside the caller's transaction.

    ``verb`` completes the message "cannot VERB the store".

    Raises:
        ConfigError: the file is another program's, a newer version's, or an unfinished copy.
    """
    what = f"cannot {verb} the store {shown(str(path), 200)}"
    latest = migrations("sqlite")[-1].number
    owner, version = db.pragma("application_id"), int(db.pragma("user_version"))
    if owner == version == 0 and not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
        return 0
    if owner == COPYING_ID:
        raise ConfigError(f"{what}: a 'snsctl store copy' into it is not finished; run that command again")
    if owner != APPLICATION_ID:
        raise ConfigError(f"{what}: it is another program's database; name another file")
    if version > latest:
        raise ConfigError(
            f"{what}: a newer snsnode wrote it (schema {version}, this one knows {latest}); upgrade snsnode"
        )
    return version
