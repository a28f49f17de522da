"""What SQLite's errors mean to a caller of the store: one table for writes, one for reads, one for opening.

Called by the threads of the SQLite engine and by ``sqlite_file``; never raises anything itself.
"""

from pathlib import Path

import apsw

from snsnode.base.errors import ConfigError, Exhausted, SnsError, StoreFailed, Unavailable
from snsnode.base.ids import shown

# The disk takes no more: full, over its quota, read-only or broken. CANTOPEN is here because making the -wal
# file on a full disk fails so, and so does running out of file descriptors.
_NO_ROOM = (apsw.FullError, apsw.ReadOnlyError, apsw.CantOpenError)
_NO_ROOM_IOERR = frozenset(
    {
        apsw.SQLITE_IOERR_WRITE,
        apsw.SQLITE_IOERR_FSYNC,
        apsw.SQLITE_IOERR_DIR_FSYNC,
        apsw.SQLITE_IOERR_TRUNCATE,
        apsw.SQLITE_IOERR_SHMOPEN,
        apsw.SQLITE_IOERR_SHMSIZE,
        apsw.SQLITE_IOERR_SHMMAP,
    }
)


def write_error(error: apsw.Error) -> SnsError:
    """Return what a failed batch raises. Its outcome is unknown: repeat it with the same request ids.

    (SQLite took the batch back, but after a failed fsync its frames may be in the log all the same, and a
    recovery after a crash may find them.)
    """
    if _is_busy(error):
        return Unavailable(
            "cannot write to the store: another process holds it locked, perhaps a frozen one; try again"
        )
    if is_no_room(error):
        return Exhausted(
            f"cannot write to the store: its disk takes no more ({reason(error)}); free space there and try "
            "again; what is stored can be read"
        )
    return StoreFailed(f"cannot write to the store: {reason(error)}")


def read_error(error: apsw.Error) -> SnsError:
    """Return what a failed read raises."""
    if _is_busy(error):
        return Unavailable("cannot read the store: another process holds it locked; try again")
    return StoreFailed(f"cannot read the store: {reason(error)}")


def open_error(error: apsw.Error, path: Path) -> SnsError:
    """Return what opening the file ``path`` raises."""
    what = f"cannot open the store {shown(str(path), 200)}"
    if _is_busy(error):
        return Unavailable(f"{what}: another process holds it locked; end that process")
    if isinstance(error, apsw.NotADBError):
        return ConfigError(f"{what}: it is not a SQLite database; name another file")
    if isinstance(error, apsw.CantOpenError | apsw.PermissionsError | apsw.ReadOnlyError):
        return ConfigError(
            f"{what}: {reason(error)}; it must be a file that this user can read and write, in a folder where "
            "it can make files"
        )
    if is_no_room(error):
        return Exhausted(f"{what}: its disk takes no more ({reason(error)}); free space there")
    return StoreFailed(f"{what}: {reason(error)}")


def is_no_room(error: apsw.Error) -> bool:
    """Tell whether the disk, and not the request or the file's content, is at fault."""
    return isinstance(error, _NO_ROOM) or _code(error) in _NO_ROOM_IOERR


def reason(error: apsw.Error) -> str:
    """Return SQLite's words and the name of its code, for people who look it up."""
    code = _code(error)
    name = apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(code)
    return f"{error}, {name}" if name else str(error)


def _code(error: apsw.Error) -> int:
    """Return the extended result code, -1 for an error of the driver's own."""
    return int(getattr(error, "extendedresult", -1))


def _is_busy(error: apsw.Error) -> bool:
    return isinstance(error, apsw.BusyError | apsw.LockedError)
