"""The journal: who restarted whom, when, for what cause, how long it took. JSON lines, one file per VM.

Written by both partners, the spare and supervisord's plug-in; read by ``snsctl why``. Each line is one write of
a file opened for appending, so lines of several processes never mix.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JOURNAL_BYTES_MAX = 4 * 1024 * 1024  # then it is renamed to journal.jsonl.1, replacing the one before


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: ``event`` is a word of a fixed set, ``fields`` what belongs to it (durations in ``…_ms``)."""

    at: str
    role: str
    event: str
    fields: dict[str, Any] = field(default_factory=dict)


class Journal:
    """Appends what one process does."""

    def __init__(self, path: Path, vm: str, role: str) -> None:
        self._path = path
        self._vm = vm
        self._role = role

    def write(self, event: str, **fields: Any) -> None:
        """Append one entry; a full disk loses the entry, never the process."""
        now_s = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s)) + f".{int(now_s * 1000) % 1000:03d}Z"
        entry = {"at": at, "vm": self._vm, "role": self._role, "pid": os.getpid(), "event": event}
        entry |= {key: value for key, value in fields.items() if value is not None}
        with contextlib.suppress(OSError):
            self._append(json.dumps(entry, ensure_ascii=False) + "\n")

    def _append(self, line: str) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # A full disk may have cut the last line short; ours must not be lost with it.
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = "\n" + line
            # A path that is not Unicode comes as lone surrogates; escaped they are JSON.
            os.write(descriptor, line.encode(errors="backslashreplace"))
            if size > JOURNAL_BYTES_MAX:
                self._rotate(descriptor)
        finally:
            os.close(descriptor)

    def _rotate(self, descriptor: int) -> None:
        # Under a lock of the full file: a second process that found it full must not rename the next one.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if self._path.stat().st_ino == os.fstat(descriptor).st_ino:
            self._path.replace(self._path.with_name(self._path.name + ".1"))


def read(path: Path) -> Iterator[Entry]:
    """Yield the entries, oldest first; lines that a crash cut short are left out."""
    for file in (path.with_name(path.name + ".1"), path):
        with contextlib.suppress(FileNotFoundError):
            # Not splitlines(): it also splits at U+2028 and its like, which may stand inside a line.
            for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
                with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                    raw = json.loads(line)
                    known = (raw.pop("at"), raw.pop("role"), raw.pop("event"))
                    yield Entry(*known, fields=raw)
