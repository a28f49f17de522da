"""Adoption for programs that are not ours: ``adopt = NAME:PIDFILE`` lines of the plug-in's section.

For daemons that put themselves into the background or restart themselves and write a pid file: supervisord then
shows and commands the process that really runs.
"""

import os
import time
from pathlib import Path

from supervisor.options import decode_wait_status
from supervisor.states import ProcessStates

from snsnode.base import fields, reading
from snsnode.node.process import Identity, identify, is_alive
from snsnode.supervisord.adoption import Adopting

_CLOCK_SLACK_S = 1.0  # start times have 10 ms, file times depend on the file system
_PATIENCE_MIN_S = 2.0
_LOOP_S = 1.0  # supervisord may see the end of a child this much later


class PidFileProcess(Adopting):
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
        self._ended_s = time.monotonic()
        launched = self._adopted is None and decode_wait_status(sts)[0] in self.config.exitcodes
        short = time.time() - self.laststart < self.config.startsecs + _LOOP_S
        attempts = self.backoff
        super().finish(pid, sts)
        # "Exited too quickly", says supervisord, or calls it a success where it noticed late.
        if launched and short and self.state in (ProcessStates.BACKOFF, ProcessStates.EXITED):
            self.backoff = attempts  # not a failed attempt yet
            self._await(self._patience_s)
            self.look()

    def _adopt(self, identity: Identity) -> None:
        self._fruitless = 0
        super()._adopt(identity)

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
    """Return program name → pid file of ``NAME:PIDFILE`` lines (or commas); a relative path starts at ``here``.

    Raises:
        ValueError: a line has another form, or a name stands there twice.
    """
    adopted: dict[str, Path] = {}
    for line in text.replace(",", "\n").splitlines():
        if not line.strip():
            continue
        name, colon, path = (part.strip() for part in line.partition(":"))
        if not colon or not name or not path or path[0] in "\"'":
            raise ValueError(f"cannot read adopt = {line.strip()!r}: write NAME:PIDFILE, without quotes")
        if name in adopted:
            raise ValueError(f"cannot adopt {name!r} twice: give it one pid file")
        adopted[name] = here / path
    return adopted
