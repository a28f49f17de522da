"""Adoption: a program whose own child is gone takes the live successor as its process.

supervisord believes only in children that it forked. A program of ours is restarted by its partner, so after the
first failure ``status`` would say EXITED, ``stop`` would stop nothing and ``start`` would start a second one. The
class here replaces supervisord's own ``Subprocess``: on each turn of the main loop, and whenever its state is
asked for, it looks who really is the program.

Runs inside supervisord, whose main loop guards none of these calls: an exception that left one would end it.
"""

import errno
import os
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any, cast

from supervisor.options import decode_wait_status
from supervisor.process import Subprocess
from supervisor.states import STOPPED_STATES, ProcessStates, SupervisorStates

from snsnode.node.process import Identity, is_alive, send_signal, state_of
from snsnode.supervisord import bell

_UPTIME_SLACK_S = 1.0  # a start time that is off by more: the wall clock was set


class Adopting(Subprocess):  # type: ignore[misc] # supervisor has no types
    """A program that may be a process which somebody else started.

    Never constructed: the plug-in changes the class of supervisord's own objects. ``_successor`` is the one
    thing a subclass must tell.
    """

    pid: int
    pipes: dict[str, int | None]
    dispatchers: dict[int, Any]
    state: int
    laststart: float
    exitstatus: int | None
    spawnerr: str | None

    _adopted: Identity | None = None
    _automatic = False  # inside transition(): what spawns now is supervisord itself, not an operator
    _looking = False
    _awaited_until_s = 0.0  # monotonic; not 0: somebody else starts the program, and it has no process yet
    _grace_until_s = 0.0  # monotonic; no SIGKILL before

    def _successor(self) -> Identity | None:
        """Return the live process that is this program now."""
        raise NotImplementedError

    def _started_s(self, identity: Identity) -> float:
        """Return since when this process is the program, by the wall clock of this moment."""
        return time.time() - identity.uptime_s

    def _vacant(self) -> None:
        """Nobody is this program now; called on each look."""

    def _spawn_asked(self) -> int | None:
        """An operator wants the program, and it does not run."""
        return self._fork()

    def _spawn_unasked(self) -> int | None:
        """Autostart, autorestart or a retry in BACKOFF."""
        return self._fork()

    def _nobody_came(self) -> None:
        """The awaited process did not appear in time."""
        self._back_off("nobody started it")

    # --- supervisord's entry points -------------------------------------------------------------------------

    def get_state(self) -> int:
        """Return the state of what really runs: the web page and ``stop all`` ask only this."""
        self.look()
        return self.state

    def transition(self) -> None:
        """Look who we are, then let supervisord do what it always does."""
        self.look()
        logger = self.config.options.logger
        if self._awaited_until_s:
            if time.monotonic() > self._awaited_until_s:
                self._awaited_until_s = 0.0
                guarded(logger, f"go on with {self.config.name}", self._nobody_came)
            return
        self._automatic = True
        try:
            guarded(logger, f"move {self.config.name} on", lambda: Subprocess.transition(self))
        finally:
            self._automatic = False

    def spawn(self) -> int | None:
        """Start the program, unless it turns out to run already."""
        self.look()
        if self._adopted is not None:
            return self.pid
        try:
            return self._spawn_unasked() if self._automatic else self._spawn_asked()
        except OSError as error:
            self.record_spawnerr(f"cannot start {self.config.name}: {error.strerror}")
            return None

    def kill(self, sig: int) -> str | None:
        """Signal the adopted process; never its group, which may be its partner's."""
        left_s = self._grace_until_s - time.monotonic()
        if self.state == ProcessStates.STOPPING and left_s > 0:
            self.delay = time.time() + left_s  # the wall clock was set: this SIGKILL comes too early
            return None
        self._grace_until_s = time.monotonic() + self.config.stopwaitsecs
        if self._awaited_until_s:
            self._awaited_until_s = 0.0
            self.change_state(ProcessStates.STOPPED)
            return None
        if self._adopted is None:
            return Subprocess.kill(self, sig)  # type: ignore[no-any-return]
        refusal = self._send(sig)
        self.delay = time.time() + self.config.stopwaitsecs
        if refusal is None:
            self.killing = True
            self.change_state(ProcessStates.STOPPING)
        return refusal

    def signal(self, sig: int) -> str | None:
        """Signal the program without the intention to end it."""
        if self._adopted is None:
            return Subprocess.signal(self, sig)  # type: ignore[no-any-return]
        return self._send(sig)

    def write(self, chars: bytes) -> None:
        """Write to the program's standard input; we hold none of an adopted process."""
        if self._adopted is not None:
            raise OSError(errno.EPIPE, "an adopted process has no stdin channel")
        Subprocess.write(self, chars)

    def finish(self, pid: int, sts: int) -> None:
        """Take the end of a child; as subreaper, supervisord reaps adopted orphans too."""
        if pid != self.pid:
            return
        logger = self.config.options.logger
        code, message = decode_wait_status(sts)
        if self._adopted is not None:
            guarded(logger, f"end {self.config.name}", lambda: self._adopted_ended(code, message))
        elif not guarded(logger, f"end {self.config.name}", lambda: Subprocess.finish(self, pid, sts)):
            # It died in a state that supervisord did not expect; there is no process any more, whatever it was.
            self.config.options.close_parent_pipes(self.pipes)
            self.pipes, self.dispatchers = {}, {}
            self.killing, self.pid, self.state = False, 0, ProcessStates.EXITED

    def _check_and_adjust_for_system_clock_rollback(self, test_time: float) -> None:
        # It rewrites ``laststart`` early in RUNNING; when an adopted process began is known.
        if self._adopted is None or self.state != ProcessStates.RUNNING:
            Subprocess._check_and_adjust_for_system_clock_rollback(self, test_time)

    # --- who we are -----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Notice that the adopted process is gone, or that there is one to adopt. Never raises."""
        if self._looking:
            return
        self._looking = True
        try:
            guarded(self.config.options.logger, f"look at {self.config.name}", self._look)
        finally:
            self._looking = False

    def _look(self) -> None:
        if self._adopted is not None:
            if self._lives(self._adopted):
                self._keep_uptime(self._adopted)
                return
            history = self.config.options.pidhistory
            if history.get(self.pid) is self:  # nobody will reap it here (reap() itself deletes after finish)
                del history[self.pid]
            self._adopted_ended(-1, "exit status unknown")
        if self.pid or not self._may_adopt():
            return
        found = self._successor()
        shuts_down = self.config.options.mood < SupervisorStates.RUNNING
        if found is not None:
            self._adopt(found)
            if shuts_down:
                self.stop()  # its group may have been stopped already, and is not asked again
        elif not shuts_down and not self._awaited_until_s:
            self._vacant()

    def _lives(self, identity: Identity) -> bool:
        # A zombie of our own will be reaped with its status; of somebody else's, it is just gone.
        if is_alive(identity):
            return True
        return state_of(identity) == "Z" and _parent(identity.pid) == os.getpid()

    def _may_adopt(self) -> bool:
        return self.state in (*STOPPED_STATES, ProcessStates.BACKOFF) or bool(self._awaited_until_s)

    def _adopt(self, identity: Identity) -> None:
        options = self.config.options
        self._adopted, self.pid = identity, identity.pid
        self.laststart = self._started_s(identity)
        self.delay = self.backoff = 0
        self._awaited_until_s = 0.0
        self.killing = False
        self.spawnerr = self.exitstatus = None
        self.pipes, self.dispatchers = {}, bell.hang(self, identity)
        # Where supervisord is the subreaper, reap() finds us by this.
        options.pidhistory[self.pid] = self
        self.change_state(ProcessStates.STARTING)
        self.change_state(ProcessStates.RUNNING)
        options.logger.info(f"adopted: {self.config.name} with pid {self.pid}")

    def _adopted_ended(self, code: int, message: str) -> None:
        pid, stopped = self.pid, self.killing
        try:
            self._let_go()
            self.delay = 0
            self.laststop = time.time()
            self.exitstatus = code
            if stopped:
                self.change_state(ProcessStates.STOPPED)
            else:
                self.change_state(ProcessStates.EXITED, expected=False)
        finally:
            self.pid = 0  # last: what is told of the change names the pid
        what = "stopped" if stopped else "adopted process gone"
        self.config.options.logger.info(f"{what}: {self.config.name} (pid {pid}; {message})")

    def _let_go(self) -> None:
        self._adopted, self.killing = None, False
        for hung in self.dispatchers.values():
            hung.close()
        self.dispatchers = {}

    def _keep_uptime(self, identity: Identity) -> None:
        started_s = self._started_s(identity)
        if abs(started_s - self.laststart) > _UPTIME_SLACK_S:
            self.laststart = started_s

    # --- moves that subclasses make -------------------------------------------------------------------------

    def _fork(self) -> int | None:
        return cast("int | None", Subprocess.spawn(self))

    def _await(self, within_s: float) -> None:
        """Be STARTING without a process: somebody else brings it up within ``within_s``."""
        self.killing = False
        self.spawnerr = self.exitstatus = None
        self.laststart = time.time()
        self._awaited_until_s = time.monotonic() + within_s
        self.change_state(ProcessStates.STARTING)

    def _back_off(self, why: str) -> None:
        self.backoff = 0
        self.spawnerr = why
        self.change_state(ProcessStates.BACKOFF)

    def _send(self, sig: int) -> str | None:
        assert self._adopted is not None
        self.config.options.logger.debug(f"signal {sig} to adopted {self.config.name} (pid {self.pid})")
        try:
            # False where it is gone already: the next look finds out.
            send_signal(self._adopted, cast(signal.Signals, sig))
        except OSError as error:
            return f"cannot signal {self.config.name} (pid {self.pid}): {error.strerror}"
        return None


def guarded(logger: Any, what: str, act: Callable[[], object]) -> bool:
    """Run ``act``; an exception is logged instead of ending supervisord. False after one."""
    try:
        act()
    except Exception:  # noqa: BLE001 - the boundary to supervisord, which would die silently
        logger.error(f"snsnode: cannot {what}: {traceback.format_exc()}")
        return False
    return True


def _parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None
