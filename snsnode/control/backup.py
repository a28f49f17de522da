"""The backup of a running cluster's store: a file that is whole, or none.

Called by ``snsctl backup``. The copy is written under a temporary name beside the file, checked, brought to the
disk, and only then given its name.
"""

import contextlib
import errno
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from snsnode.base.errors import Exhausted, SnsError, UsageError
from snsnode.base.ids import PATH_SHOWN, shown
from snsnode.control.files import is_same_file, why_not_writable
from snsnode.node.config import FILENAME
from snsnode.node.durable import sync_folder
from snsnode.store.engines import SIDE_FILES, check_sqlite_files, sqlite_path

_HEAD = b"SQLite format 3\0"  # how every database begins, and so every backup


@dataclass(frozen=True, slots=True)
class Report:
    """What a backup holds, and what it took."""

    users: int
    posts: int
    last_post_id: int
    schema: int
    size_bytes: int
    took_s: float


def back_up(store: str, home: Path, file: Path, *, force: bool) -> Report:
    """Write the store at the URL ``store`` into ``file``; ``force`` replaces one that exists.

    Raises:
        UsageError: the engine has its own tools for it, or ``file`` cannot be the place.
        ConfigError, Unavailable, Exhausted, StoreFailed: as ``sqlite_backup.back_up``.
    """
    if not store.startswith("sqlite://"):
        raise UsageError(
            "cannot back up a PostgreSQL store: PostgreSQL has its own tools for it, which know of its replicas "
            "and logs; use pg_dump for a copy of the database, or pg_basebackup for the whole server"
        )
    source = sqlite_path(store, home)
    check_sqlite_files(source)
    check_place(source, file, force=force)
    check_replaced(home, file)
    start_s = time.monotonic()
    from snsnode.store import sqlite_backup  # here: apsw is loaded only where there is something to copy

    _remove_stale(file)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        temporary.touch(mode=0o600, exist_ok=False)  # as the store itself: for this user alone
        copied = sqlite_backup.back_up(source, temporary, file)
        _make_durable(temporary)
        check_place(source, file, force=force)  # somebody may have been faster
        check_replaced(home, file)
        _remove_side_files(file)
        temporary.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        raise _cannot_write(file, error) from None
    finally:
        _remove(temporary)
    return Report(
        users=copied.users,
        posts=copied.posts,
        last_post_id=copied.last_post_id,
        schema=copied.schema,
        size_bytes=file.stat().st_size,
        took_s=time.monotonic() - start_s,
    )


def check_place(source: Path, file: Path, *, force: bool) -> None:
    """Refuse a ``file`` that a backup of ``source`` must not become.

    Raises:
        UsageError: it is the store or a part of it, a folder, in none, or it exists, or a file beside it that
            SQLite would read with it, and ``force`` is not given.
        SnsError: there is no store yet.
    """
    what = f"cannot write the backup {shown(str(file), PATH_SHOWN)}"
    if not source.exists():
        raise SnsError(
            f"cannot back up the store {shown(str(source), PATH_SHOWN)}: it does not exist; "
            "start the cluster once, or give its --home"
        )
    for suffix in SIDE_FILES:
        part = source.with_name(source.name + suffix)
        if is_same_file(file, part):
            raise UsageError(f"{what}: that is the store itself; name a file elsewhere, best on another disk")
    for suffix in SIDE_FILES:
        part = file.with_name(file.name + suffix)
        # --force replaces files: never a device, which is a loss to the whole machine.
        if other := why_not_writable(part):
            raise UsageError(f"{what}: {part.name if suffix else 'it'} is {other}")
        # The name itself would be replaced, not what it leads to: /dev/stdout is such a link.
        if part.is_symlink():
            target = shown(os.path.realpath(part), PATH_SHOWN)
            raise UsageError(f"{what}: {part.name if suffix else 'it'} is a link to {target}; name a file")
    if not file.parent.is_dir():
        raise UsageError(f"{what}: there is no folder {shown(str(file.parent), PATH_SHOWN)}; make it first")
    if force:
        return
    if file.exists():
        raise UsageError(f"{what}: it exists; name another file, or say --force to replace it")
    for suffix in SIDE_FILES[1:]:
        side = file.with_name(file.name + suffix)
        if side.exists():
            raise UsageError(
                f"{what}: {side.name} of another file lies there, and SQLite would read it with this one; name "
                "another file, or say --force to remove it"
            )


def check_replaced(home: Path, file: Path) -> None:
    """Refuse to replace what lies in a cluster's home or a VM's folder and is no backup.

    Raises:
        UsageError: it is such a file.
    """
    folders = Path(os.path.realpath(file)).parents
    ours = Path(os.path.realpath(home)) == folders[0] or any((each / FILENAME).exists() for each in folders)
    if ours and file.exists() and not _is_database(file):
        raise UsageError(
            f"cannot write the backup {shown(str(file), PATH_SHOWN)}: it lies in a cluster's home and is "
            "no backup; name another file, best on another disk"
        )


def _is_database(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(len(_HEAD)) == _HEAD


def _make_durable(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_side_files(file: Path) -> None:
    """Remove what lies beside a file that is replaced: its log would be laid over the new one."""
    for suffix in SIDE_FILES[1:]:
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _remove(temporary: Path) -> None:
    for suffix in SIDE_FILES:
        with contextlib.suppress(OSError):
            temporary.with_name(temporary.name + suffix).unlink()


def _remove_stale(file: Path) -> None:
    """Remove what a backup into ``file`` left that was killed."""
    pattern = re.compile(rf"\.{re.escape(file.name)}\.(\d+)\.tmp")
    with contextlib.suppress(OSError):
        for path in file.parent.iterdir():
            match = pattern.fullmatch(path.name)
            if match and not Path("/proc", match[1]).exists():
                _remove(path)


def _cannot_write(file: Path, error: OSError) -> SnsError:
    kind = Exhausted if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) else SnsError
    return kind(f"cannot write the backup {shown(str(file), PATH_SHOWN)}: {error.strerror}; name another place")
