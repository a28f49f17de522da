"""Writes down what each observer of a cluster sees, remembers and does; the soak reads it back (``replay``).

The test hook (``hooks``) loads this file at the start of every role and supervisord, before the rooms that act are
imported, and puts a recorder around the judge and the machine. The product has no part in it. It stands alone: the
standard library and ``snsnode.guard``, for it runs inside supervisord too.

One file for each process. Each line is a JSON list whose first item counts the lines. A look that is as the one
before it in all but its time is one number. A file is bounded; what does not fit is not written, and told.
"""

import dataclasses
import enum
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

FILE_BYTES_MAX = 64 * 1024 * 1024


def packed(value: Any) -> Any:
    """Return ``value`` as what JSON can hold: frozen classes, enumerations and collections by their names."""
    if isinstance(value, enum.Enum):
        return [type(value).__name__, value.name]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(packed(getattr(value, f.name)) for f in dataclasses.fields(value))]
    if isinstance(value, tuple):
        return ["tuple", *map(packed, value)]
    if isinstance(value, frozenset):
        return ["frozenset", *sorted(map(packed, value))]
    assert value is None or isinstance(value, bool | int | float | str), value
    return value


def digest(value: Any) -> str:
    """Return what tells one memory from another."""
    return hashlib.sha256(json.dumps(packed(value)).encode()).hexdigest()[:16]


class Recorder:
    """Writes one process's looks and steps into ``folder``."""

    def __init__(self, folder: Path, vm: str, program: str) -> None:
        self._folder = folder
        self._vm = vm
        self._program = program
        self._owner = 0  # the process that the file belongs to: supervisord forks
        self._file: Path | None = None
        self._bytes = 0
        self._lines = 0
        self._last: dict[Hashable, Any] = {}  # by stream: memory, and what was seen

    def judging(self, judge: Callable[..., Any], table: Any) -> Callable[..., Any]:
        """Return ``judge`` with a recorder around it; ``table`` is its default."""

        def recorded(
            memory: Any, view: Any, me: Any, now_s: float, settings: Any, table: Any = table
        ) -> tuple[Any, tuple[Any, ...]]:
            after, actions = judge(memory, view, me, now_s, settings, table)
            places = {row.place.value for row in table}
            stream = ("judge", me.value, "" if "slave" in places else table[0].place.value)
            seen = (view, settings, after.held, actions)
            before, last = self._last.get(stream, (None, None))
            if before == memory and seen == last:
                self._write(["same", *stream, now_s])
            else:
                known = before == memory
                self._write(
                    ["look", *stream, now_s, None if known else packed(memory), packed(view),
                     packed(settings), packed(after), packed(actions)]
                )  # fmt: skip
            self._last[stream] = after, seen
            return after, actions

        return recorded

    def stepping(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the machine's ``step`` with a recorder around it."""

        def recorded(state: Any, event: Any, now_s: float, rules: Any, *, wanted: bool) -> Any:
            after, actions = step(state, event, now_s, rules, wanted=wanted)
            stream = ("machine", "slave" if rules.sends else "master", "")
            before, last = self._last.get(stream, (None, None))
            self._write(
                ["step", *stream, now_s, None if before == state else packed(state), packed(event),
                 None if last == rules else packed(rules), wanted, after.phase.name, digest(after),
                 packed(actions)]
            )  # fmt: skip
            self._last[stream] = after, rules
            return after, actions

        return recorded

    def _write(self, words: list[Any]) -> None:
        """Append one line; where that fails the recording ends: it must not change what the process does.

        The file is opened for each line: supervisord closes all descriptors when it reloads, and a kept number
        would soon be that of a pipe of its own.
        """
        if self._owner != os.getpid():
            self._owner, self._bytes, self._lines = os.getpid(), 0, 0
            name = f"{self._vm}.{self._program}.{self._owner}.{time.monotonic_ns()}.jsonl"
            self._file = self._folder / name
        if self._file is None:
            return
        line = json.dumps([self._lines, *words], separators=(",", ":")).encode() + b"\n"
        full = self._bytes + len(line) > FILE_BYTES_MAX
        try:
            descriptor = os.open(self._file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, json.dumps([self._lines, "full"]).encode() + b"\n" if full else line)
            finally:
                os.close(descriptor)
        except OSError:
            full = True
        self._lines += 1
        self._bytes += len(line)
        if full:
            self._file = None


def install(folder: Path) -> None:
    """Record this process, where it is one of those that judge."""
    words = sys.orig_argv
    role = next((word.rpartition(".")[2] for word in words if word in ("snsnode.master", "snsnode.slave")), "")
    if role:
        vm = Path.cwd().name
    elif "-c" in words and any("supervisord" in Path(word).name for word in words):
        role, vm = "supervisord", Path(words[words.index("-c") + 1]).parent.name
        if "-m" in words and words[words.index("-m") + 1] not in ("supervisor.supervisord",):
            return
    else:
        return
    from snsnode.guard import judge, machine, table

    recorder = Recorder(folder, vm, role)
    judge.judge = recorder.judging(judge.judge, table.TABLE)
    machine.step = recorder.stepping(machine.step)
