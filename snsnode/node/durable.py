"""Small files that are either old or new, never half-written, and optionally on the disk when we go on."""

import contextlib
import errno
import os
from pathlib import Path

from snsnode.base import aside

RECORD_BYTES = 256


def write_text(path: Path, text: str, *, fsync: bool) -> None:
    """Replace ``path`` by ``text``, atomically; with ``fsync`` it survives the machine's power too.

    Raises:
        OSError: the disk is full or read-only; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", opener=_open_for_us) as file:
            file.write(text)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        _replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if fsync:
        sync_folder(path.parent)


def write_record(path: Path, text: str, *, fsync: bool) -> None:
    """Write a small record (at most ``RECORD_BYTES``) as ``write_text`` does, also on a full disk.

    Where there is no room for a new file, the old one, or a damaged one that was set aside, is overwritten in its
    own block: a pair must be able to restart its master on a full disk. A reader then may, at worst, find a record
    that it cannot parse.

    Raises:
        OSError: even that failed.
    """
    padded = text.ljust(RECORD_BYTES)
    try:
        write_text(path, padded, fsync=fsync)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _has_block(path):
            raise
        with path.open("r+b", buffering=0) as file:
            file.write(padded.encode())
            if fsync:
                os.fsync(file.fileno())


def _replace(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except IsADirectoryError:
        aside.clear_way(path)
        temporary.replace(path)


def _has_block(path: Path) -> bool:
    """Tell whether there is a file at ``path`` to overwrite; a damaged one that was set aside is taken back."""
    if not path.exists():
        with contextlib.suppress(OSError, StopIteration):
            next(file for file in aside.damaged_files(path.parent, path.name) if file.is_file()).rename(path)
    return path.is_file()


def _open_for_us(path: str, flags: int) -> int:
    """Open a new file that others may not write to, whatever the umask: else the home would be refused for it."""
    return os.open(path, flags, 0o644)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
