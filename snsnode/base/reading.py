"""Reads the small files that processes share, within bounds of kind, size, depth and range.

What stands in a file's place may be anything: half a record, a gigabyte, a pipe that nobody writes to, a
folder, JSON a million levels deep. None of it may hold a reader up or end it. Every room reads such files through
here (and takes an object apart by ``fields``): a file that is not what it should be raises ``Damaged``, and costs
what it held, never a process. A mere reader goes on as if the file were missing; its owner sets it ``aside``.
"""

import contextlib
import errno
import json
import math
import os
import select
import stat
from pathlib import Path
from typing import Any, NoReturn

from snsnode.base.ids import shown

BYTES_MAX = 64 * 1024  # of one small file; a record has some hundred bytes
DEPTH_MAX = 8  # of a JSON value; ours have three levels
WHOLE_MAX = 2**63 - 1  # what protobuf, SQLite and PostgreSQL hold


class Damaged(ValueError):
    """A file is not what its writer writes; the text says how."""


def read_bytes(path: Path, bytes_max: int = BYTES_MAX) -> bytes:
    """Return the content of the regular file ``path``; never waits, and never reads more than ``bytes_max``.

    Raises:
        Damaged: it is no regular file, or a larger one.
        OSError: it is not there, or may not be read.
    """
    with contextlib.closing(_Open(path)) as file:
        if file.size > bytes_max:
            raise Damaged(f"it has {file.size} bytes, more than {bytes_max}")
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:  # it grew meanwhile, or is one of /proc, which have no size
        raise Damaged(f"it has more than {bytes_max} bytes")
    return content


def read_given(path: Path, bytes_max: int, within_s: float) -> bytes:
    """Return at most ``bytes_max`` of what a person names: also what a pipe (``<(command)``) or a device gives.

    Raises:
        Damaged: it is a folder or a socket, or a pipe whose writer is silent for ``within_s``.
        OSError: it is not there, or may not be read.
    """
    with contextlib.closing(_Open(path, is_file=False)) as file:
        return file.read(bytes_max, within_s)


def read_tail(path: Path, bytes_max: int, *, since: int = 0) -> bytes:
    """Return what the regular file ``path`` holds from byte ``since`` on, of that the last ``bytes_max`` bytes.

    Raises:
        Damaged: it is no regular file.
        OSError: it is not there, or may not be read.
    """
    with contextlib.closing(_Open(path)) as file:
        os.lseek(file.descriptor, max(since, file.size - bytes_max, 0), os.SEEK_SET)
        return file.read(bytes_max)


def stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes whenever a new file takes the place of ``path``; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def read_text(path: Path, bytes_max: int = BYTES_MAX) -> str:
    """Return the text of a small file, without NUL; raises as ``read_bytes``, and ``Damaged`` for other bytes."""
    return as_text(read_bytes(path, bytes_max))


def read_object(path: Path, bytes_max: int = BYTES_MAX) -> dict[str, Any]:
    """Return the JSON object in a small file; raises as ``read_text``, and ``Damaged`` as ``parse_object``."""
    return parse_object(read_text(path, bytes_max))


def as_text(content: bytes) -> str:
    """Return ``content`` as text; raises ``Damaged`` where it is no UTF-8 or holds a NUL."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Damaged(f"it is not UTF-8 at byte {error.start}") from None
    if "\0" in text:
        raise Damaged("it holds a NUL")
    return text


def parse_object(text: str, *, surrogates: bool = False) -> dict[str, Any]:
    """Return the JSON object ``text``: finite numbers, whole ones of 64 bits, at most ``DEPTH_MAX`` levels.

    Args:
        surrogates: lone ones are taken in texts; they stand for bytes of a path that are no UTF-8.

    Raises:
        Damaged: it is something else.
    """
    try:
        value = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_no_number)
    except RecursionError:
        raise Damaged(f"it is nested deeper than {DEPTH_MAX} levels") from None
    except Damaged:
        raise
    except ValueError as error:
        raise Damaged(f"it is no JSON: {str(error)[:80]}") from None
    if not isinstance(value, dict):
        raise Damaged("it is no JSON object")
    _check(value, surrogates)
    return value


class _Open:
    """A file, open for reading; a regular one, or (not ``is_file``) also a pipe or a device."""

    def __init__(self, path: Path, *, is_file: bool = True) -> None:
        # Without waiting: the opening of a pipe waits for a writer, that of some devices for a cable.
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Damaged("it is a loop of links") from None
            if error.errno in (errno.ENXIO, errno.ENODEV):
                raise Damaged("it is a socket or a device") from None
            raise
        found = os.fstat(self.descriptor)
        self.size = found.st_size
        if not (stat.S_ISREG if is_file else _is_readable)(found.st_mode):
            self.close()
            raise Damaged(f"it is {kind_of(found.st_mode)}")

    def read(self, bytes_max: int, within_s: float = 0.0) -> bytes:
        parts: list[bytes] = []
        left = bytes_max
        while left > 0 and (part := self._part(min(left, 1 << 20), within_s)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _part(self, bytes_max: int, within_s: float) -> bytes:
        try:
            return os.read(self.descriptor, bytes_max)
        except BlockingIOError:
            pass
        poller = select.poll()
        poller.register(self.descriptor, select.POLLIN)
        if not poller.poll(within_s * 1000):
            raise Damaged(f"nothing came from it for {within_s:g} s")
        try:
            return os.read(self.descriptor, bytes_max)
        except BlockingIOError:
            raise Damaged("nothing comes from it") from None

    def close(self) -> None:
        os.close(self.descriptor)


def _is_readable(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def kind_of(mode: int) -> str:
    """Name what ``st_mode`` tells of something that is no regular file."""
    return next((kind for is_one, kind in _KINDS if is_one(mode)), "a link or a device")


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -WHOLE_MAX <= (number := int(digits)) <= WHOLE_MAX:
        raise Damaged(f"the number {named(digits)} is beyond 64 bits")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise Damaged(f"the number {named(digits)} is not finite")
    return number


def _no_number(word: str) -> NoReturn:
    raise Damaged(f"{word} is no number")


def _check(value: object, surrogates: bool) -> None:
    """Refuse a value that is nested too deeply or holds what is no Unicode; without recursion."""
    level = [value]
    for _ in range(DEPTH_MAX):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and not surrogates and not item.isascii():
                _check_unicode(item)
        if not below:
            return
        level = below
    raise Damaged(f"it is nested deeper than {DEPTH_MAX} levels")


def _check_unicode(words: str) -> None:
    try:
        words.encode()
    except UnicodeEncodeError:
        raise Damaged(f"the text {named(words)} is no Unicode") from None


def named(value: object) -> str:
    """Name ``value`` in a message: short, in ASCII, and without a look into what is nested."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return (
        ascii(value) if not isinstance(value, str) else shown(value.encode(errors="backslashreplace").decode(), 40)
    )
