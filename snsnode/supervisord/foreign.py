"""Adoption for programs that are not ours: ``adopt = [GROUP:]NAME:PIDFILE`` lines of the plug-in's section.

For daemons that put themselves into the background or restart themselves and write a pid file: supervisord then
shows and commands the process that really runs.
"""

import os
import time
from collections.abc import Collection
from pathlib import Path

from supervisor.options import decode_wait_status
from supervisor.states import ProcessStates

from snsnode.base import fields, reading
from snsnode.node.process import Identity, identify, is_alive
from snsnode.supervisord.following import Following

_CLOCK_SLACK_S = 1.0  # start times have 10 ms, file times depend on the file system
_PATIENCE_MIN_S = 2.0
_LOOP_S = 1.0  # supervisord may see the end of a child this much later


class PidFileProcess(Following):
    """A program whose process is named by a pid file."""

    pid_file: Path  # set when the class is changed

    _ended_s: float | None = None  # monotonic; when its last process ended
    _fruitless = 0  # launches in a row that left no daemon behind

    def _successor(self) -> Identity | None:
        try:
            pid = fields.parse_whole(reading.read_text(self.pid_file).split()[0], "the pid", 2, fields.PID_MAX)
            written_s = self.pid_file.stat().st_mtime
        except (OSError, ValueError, IndexError):
            return None
        found = identify(pid) if pid != os.getpid() else None
        if found is None or not is_alive(found):
            return None
        # A stale file may name a recycled pid: that process is younger than the file.
        started_s = time.time() - found.uptime_s
        return found if started_s <= written_s + _CLOCK_SLACK_S else None

    @property
    def _patience_s(self) -> float:
        """How long the successor of a process that ended may take to write the pid file."""
        return max(float(self.config.startsecs), _PATIENCE_MIN_S)

    def finish(self, pid: int, sts: int) -> None:
        """Take the end of what we forked: a launcher that leaves a daemon behind ends as soon as it has."""
        super().finish(pid, sts)
        self.look()

    def _finish(self, pid: int, sts: int) -> None:
        if pid != self.pid:
            super()._finish(pid, sts)
            return
        self._ended_s = time.monotonic()
        own = self._adopted is None and not self.killing
        launched = own and decode_wait_status(sts)[0] in self.config.exitcodes
        short = time.time() - self.laststart < self.config.startsecs + _LOOP_S
        if launched and short and self.state == ProcessStates.STARTING and self._heir() is None:
            self._launched()
            return
        attempts = self.backoff
        super()._finish(pid, sts)
        # It took so long that supervisord called it RUNNING.
        if launched and short and self.state == ProcessStates.EXITED:
            self.backoff = attempts  # not a failed attempt yet
            self._await(self._patience_s)

    def _launched(self) -> None:
        """Stay STARTING until the daemon shows up: supervisord would call it "exited too quickly"."""
        self._drain_output()
        self.config.options.close_parent_pipes(self.pipes)
        self.pipes, self.dispatchers = {}, {}
        self.pid, self.laststop = 0, time.time()
        self.config.options.logger.info(f"launched: {self.config.name}; its launcher has ended")
        self._await(self._patience_s)

    def _adopt(self, identity: Identity) -> None:
        self._fruitless = 0
        super()._adopt(identity)

    def _be(self, identity: Identity) -> None:
        self._fruitless = 0
        super()._be(identity)

    def _adopted_ended(self, code: int, message: str) -> None:
        self._ended_s = time.monotonic()
        super()._adopted_ended(code, message)

    def _spawn_asked(self) -> int | None:
        self._fruitless = 0
        return super()._spawn_asked()

    def _spawn_unasked(self) -> int | None:
        # It may be restarting itself.
        if self._ended_s is not None and time.monotonic() - self._ended_s < self._patience_s:
            return None
        return self._fork()

    def _nobody_came(self) -> None:
        self.spawnerr = f"it ended, and {self.pid_file} names no live process"
        # supervisord forgets its count when it calls a launcher RUNNING whose end it notices late.
        self.backoff = max(self.backoff, self._fruitless)
        self._fruitless += 1
        self.change_state(ProcessStates.BACKOFF)  # counts the attempt: after startretries it is FATAL


def parse(text: str, here: Path) -> dict[str, Path]:
    """Return pid files by program, ``NAME`` or ``GROUP:NAME``, of lines (or commas) that add ``:PIDFILE`` to it.

    A relative path starts at ``here``. Names hold neither ":" nor "/" (supervisor forbids it), so a second part
    with a "/" begins a path that has a colon.

    Raises:
        ValueError: a line has another form, or a program or a pid file stands there twice.
    """
    adopted: dict[str, Path] = {}
    for line in text.replace(",", "\n").splitlines():
        if not line.strip():
            continue
        name, *parts = (part.strip() for part in line.split(":"))
        if len(parts) > 1 and "/" not in parts[0]:
            name = f"{name}:{parts.pop(0)}" if name and parts[0] else ""
        path = ":".join(parts)
        if not name or not path or path[0] in "\"'":
            raise ValueError(
                f"cannot read adopt = {line.strip()!r}: write NAME:PIDFILE or GROUP:NAME:PIDFILE, without quotes"
            )
        if name in adopted:
            raise ValueError(f"cannot adopt {name!r} twice: give it one pid file")
        pid_file = here / path
        for other, known in adopted.items():
            if known == pid_file:
                raise ValueError(f"cannot adopt both {other!r} and {name!r} by {pid_file}: it names one process")
        adopted[name] = pid_file
    return adopted


def program_of(name: str, programs: Collection[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the (group, name) in ``programs`` that a line's ``NAME`` or ``GROUP:NAME`` means; None where none is.

    Raises:
        ValueError: several groups have a program of this name.
    """
    found = sorted(each for each in programs if name in (each[1], f"{each[0]}:{each[1]}"))
    if len(found) > 1:
        groups = " and ".join(group for group, _ in found)
        forms = " or ".join(f"{group}:{name}:PIDFILE" for group, _ in found)
        raise ValueError(f"cannot adopt {name!r}: the groups {groups} each have one; write {forms}")
    return found[0] if found else None
