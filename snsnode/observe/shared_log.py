"""A log file that several processes append to: a master and its spare, and what they print as they begin.

Each line is one write at the end of the file that has the name *now*: where somebody removed or renamed it, or
another process rotated it, it is opened anew. Who finds it full rotates it, under a lock of the full file, so that
of several only one does, and none renames the next one. A line of a process that did not notice yet is in the file
that was renamed: nothing is lost.
"""

import contextlib
import fcntl
import logging
import os
from pathlib import Path

from snsnode.base import aside


class SharedLog(logging.Handler):
    """Appends to the file ``path``, up to ``bytes_max``; keeps ``kept`` full ones as ``path.1`` and on.

    Raises:
        OSError: it cannot be opened. Later on that loses lines, never the process.
    """

    def __init__(self, path: Path, bytes_max: int, kept: int) -> None:
        super().__init__()
        self._path = path
        self._bytes_max = bytes_max
        self._kept = kept
        self._cut = False  # the last line, by a full disk
        self._descriptor = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line."""
        try:
            # A name that is not Unicode comes as lone surrogates.
            self._append((self.format(record) + "\n").encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001 - logging's own way: a line must not end the process
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        super().close()

    def _append(self, line: bytes) -> None:
        self._follow_name()
        size = os.fstat(self._descriptor).st_size
        if size and size + len(line) > self._bytes_max:
            self._rotate()
            self._follow_name()
        if self._cut:
            line = b"\n" + line
        self._cut = os.write(self._descriptor, line) < len(line)

    def _follow_name(self) -> None:
        """Open the file that has the name now, if that is another one; what we print goes along."""
        if self._has_name():
            return
        before = os.fstat(self._descriptor)
        descriptor = self._open()
        for printed in (1, 2):
            with contextlib.suppress(OSError):
                if os.path.samestat(before, os.fstat(printed)):
                    os.dup2(descriptor, printed)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _has_name(self) -> bool:
        """Tell whether our file still has the name: another process may rename it at any moment."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _open(self) -> int:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        aside.clear_way(self._path)
        # Not blocking: somebody may have put a named pipe there.
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)

    def _rotate(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody else is at it
        try:
            if self._has_name():
                for number in range(self._kept, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        self._numbered(number - 1).replace(self._numbered(number))
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path
