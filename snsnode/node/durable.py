"""Small files that are either old or new, never half-written, and optionally on the disk when we go on."""

import contextlib
import errno
import os
from pathlib import Path

RECORD_BYTES = 256


def write_text(path: Path, text: str, *, fsync: bool) -> None:
    """Replace ``path`` by ``text``, atomically; with ``fsync`` it survives the machine's power too.

    Raises:
        OSError: the disk is full or read-only; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if fsync:
        sync_folder(path.parent)


def write_record(path: Path, text: str, *, fsync: bool) -> None:
    """Write a small record (at most ``RECORD_BYTES``) as ``write_text`` does, also on a full disk.

    Where there is no room for a new file, the old one is overwritten in its own block: a pair must be able to
    restart its master on a full disk. A reader then may, at worst, find a record that it cannot parse.

    Raises:
        OSError: even that failed.
    """
    padded = text.ljust(RECORD_BYTES)
    try:
        write_text(path, padded, fsync=fsync)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not path.exists():
            raise
        with path.open("r+b", buffering=0) as file:
            file.write(padded.encode())
            if fsync:
                os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
