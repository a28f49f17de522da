"""The journal: who restarted whom, when, for what cause, how long it took. JSON lines, one file per VM.

Written by both partners, the spare and supervisord's plug-in; read by ``snsctl why``. Each line is one write of
a file opened for appending, so lines of several processes never mix.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from snsnode.base import aside, fields, reading
from snsnode.observe import events
from snsnode.observe.events import Event

JOURNAL_BYTES_MAX = 4 * 1024 * 1024  # then it is renamed to journal.jsonl.1, replacing the one before
READ_BYTES_MAX = 2 * JOURNAL_BYTES_MAX  # of each of the two files, the newest
WORD_MAX = 64  # characters of a role, an event or a VM's name
TEXT_MAX = 8192  # characters of any other text
FIELDS_MAX = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One line, written by the process ``pid`` of ``role`` at ``at`` (UTC); ``fields`` is the rest as it stands.

    ``what`` is the event itself; None where this version does not know it, or a field is not of its type.
    """

    at: str
    role: str
    event: str
    fields: dict[str, Any] = field(default_factory=dict)
    what: Event | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Take the event out of the fields, once."""
        object.__setattr__(self, "what", events.decode(self.event, self.fields))

    @property
    def vm(self) -> str:
        """The VM; ``?`` where the line lacks it."""
        return str(self.fields.get("vm", "?"))

    @property
    def pid(self) -> int | None:
        """The process that wrote the line; None where the line lacks it."""
        pid = self.fields.get("pid")
        return pid if type(pid) is int else None


class Journal:
    """Appends what one process does; ``later`` is given the work where it must not be waited for.

    ``role`` is asked at each entry where it is a function: a spare becomes the master.
    """

    def __init__(
        self,
        path: Path,
        vm: str,
        role: str | Callable[[], str],
        later: Callable[[Callable[[], object]], None] | None = None,
    ) -> None:
        self._path = path
        self._later = later
        self._vm = vm
        self._role = role

    def write(self, event: Event) -> None:
        """Append one entry; a full disk loses the entry, never the process."""
        now_s = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s)) + f".{int(now_s * 1000) % 1000:03d}Z"
        role = self._role if isinstance(self._role, str) else self._role()
        entry = {"at": at, "vm": self._vm, "role": role, "pid": os.getpid(), "event": event.name}
        entry |= events.encode(event)
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        if self._later is not None:
            self._later(partial(self._try_to_append, line))
        else:
            self._try_to_append(line)

    def note_damage(self, path: Path, place: Path, cause: str) -> None:
        """Tell of a file that was set aside; one of ``aside.listeners``."""
        self.write(events.SetAside(file=path.name, kept=place.name, cause=cause))

    def _try_to_append(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._append(line)

    def _append(self, line: str) -> None:
        aside.clear_way(self._path)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
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


@dataclass(frozen=True, slots=True)
class History:
    """What a journal holds, oldest first; ``skipped`` counts the lines that are no entry of ours."""

    entries: tuple[Entry, ...] = ()
    skipped: int = 0


def read(path: Path) -> tuple[Entry, ...]:
    """Return the entries of ``history``."""
    return history(path).entries


def history(path: Path) -> History:
    """Return the entries of the journal at ``path`` and of the file before it, and the count of other lines.

    Raises:
        OSError: a file may not be read.
    """
    entries: list[Entry] = []
    skipped = 0
    for file in (path.with_name(path.name + ".1"), path):
        for line in _lines(file):
            try:
                entries.append(_entry(line))
            except reading.Damaged:
                skipped += 1
    return History(tuple(entries), skipped)


def size(path: Path) -> int:
    """Return how many bytes the journal at ``path`` has now, to ask ``written_since`` later."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def written_since(path: Path, began: int) -> tuple[Entry, ...]:
    """Return what was written since the journal had ``began`` bytes; where it was renamed since, what the new has.

    Raises:
        OSError: the file may not be read.
    """
    found = []
    for line in _lines(path, began if size(path) >= began else 0):
        with contextlib.suppress(reading.Damaged):
            found.append(_entry(line))
    return tuple(found)


def _lines(file: Path, since: int = 0) -> list[bytes]:
    try:
        content = reading.read_tail(file, READ_BYTES_MAX, since=since)
    except FileNotFoundError:
        return []
    except reading.Damaged:
        return [b"damaged"]  # no file at all: as one line that is no entry
    # Not splitlines(): it also splits at U+2028 and its like, which may stand inside a line.
    lines = content.split(b"\n")
    if len(content) == READ_BYTES_MAX:
        del lines[0]  # it may have begun before what was read
    return [line for line in lines if line.strip()]


def _entry(line: bytes) -> Entry:
    raw = reading.parse_object(reading.as_text(line), surrogates=True)
    if len(raw) > FIELDS_MAX:
        raise reading.Damaged(f"it has {len(raw)} fields")
    at, role, event = (fields.text(raw, key, WORD_MAX) for key in ("at", "role", "event"))
    rest = {key: value for key, value in raw.items() if key not in ("at", "role", "event")}
    for key, value in rest.items():
        if isinstance(value, dict | list) or len(key) > WORD_MAX:
            raise reading.Damaged(f"{reading.named(key)} is {reading.named(value)}")
        if isinstance(value, str) and len(value) > TEXT_MAX:
            raise reading.Damaged(f"{reading.named(key)} is longer than {TEXT_MAX} characters")
    if "vm" in rest:
        fields.text(rest, "vm", WORD_MAX)
    return Entry(at, role, event, fields=rest)
