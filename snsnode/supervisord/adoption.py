"""Adoption: a program whose own child is gone takes the live successor as its process.

supervisord believes only in children that it forked. A program of ours is restarted by its partner, so after the
first failure ``status`` would say EXITED, ``stop`` would stop nothing and ``start`` would start a second one. The
class here replaces supervisord's own ``Subprocess``: on each turn of the main loop, and whenever its state is
asked for, it looks who really is the program.

Runs inside supervisord, whose main loop guards none of these calls: an exception that left one would end it.
"""

import errno
import os
import time
import traceback
from collections.abc import Callable
from typing import Any, cast

from supervisor.options import decode_wait_status
from supervisor.process import Subprocess
from supervisor.states import STOPPED_STATES, ProcessStates, SupervisorStates

from snsnode.node import ending
from snsnode.node.ending import Outcome
from snsnode.node.process import Identity, is_alive, state_of
from snsnode.node.shortage import is_shortage
from snsnode.supervisord import bell, logfiles

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
        self._give_grace()
        if self._awaited_until_s:
            self._awaited_until_s = 0.0
            self.change_state(ProcessStates.STOPPING)
            self.change_state(ProcessStates.STOPPED)
            return None
        if self._adopted is None:
            return Subprocess.kill(self, sig)  # type: ignore[no-any-return]
        refusal = self._send_to_end(sig)
        if refusal is None:
            self.killing = True
            self.change_state(ProcessStates.STOPPING)
        elif self._shuts_down:
            self._give_up_stopping(refusal)
        return refusal

    def _give_grace(self) -> None:
        """Let SIGKILL come ``stopwaitsecs`` from now, whatever the wall clock does."""
        self._grace_until_s = time.monotonic() + self.config.stopwaitsecs
        self.delay = time.time() + self.config.stopwaitsecs

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

    def removelogs(self) -> None:
        """Clear the logs in place: a role or daemon goes on writing into its file by itself, adopted or not.

        Raises:
            OSError: one may not be written.
        """
        for path in (self.config.stdout_logfile, self.config.stderr_logfile):
            if path:
                logfiles.truncate(path)
        for dispatcher in self.dispatchers.values():
            for name in ("normallog", "capturelog"):
                logfiles.clear(getattr(dispatcher, name, None))

    def finish(self, pid: int, sts: int) -> None:
        """Take the end of a child; as subreaper, supervisord reaps adopted orphans too."""
        # No look meanwhile: it would find that the process is gone, before we have told how it ended.
        looking, self._looking = self._looking, True
        try:
            guarded(self.config.options.logger, f"end {self.config.name}", lambda: self._finish(pid, sts))
        finally:
            self._looking = looking

    def _finish(self, pid: int, sts: int) -> None:
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
            self._forget_pid(self.pid)  # nobody will reap it here
            self._adopted_ended(*self._how_it_ended(self._adopted))
        if self.pid or not self._may_adopt():
            return
        found = self._successor()
        if found is not None:
            self._adopt(found)
            if self._shuts_down:
                self.stop()  # its group may have been stopped already, and is not asked again
        elif not self._shuts_down and not self._awaited_until_s:
            self._vacant()

    @property
    def _shuts_down(self) -> bool:
        return bool(self.config.options.mood < SupervisorStates.RUNNING)

    def _forget_pid(self, pid: int) -> None:
        """Forget a pid that nobody will reap here; reap() itself deletes what it has told ``finish`` of."""
        history = self.config.options.pidhistory
        if history.get(pid) is self:
            del history[pid]

    def _how_it_ended(self, identity: Identity) -> tuple[int, str]:
        """Return exit code and description of somebody else's child, which is dead; -1 where nobody knows."""
        for dispatcher in self.dispatchers.values():
            status = dispatcher.wait_status(identity) if isinstance(dispatcher, bell.Bell) else None
            if status is not None:
                return cast("tuple[int, str]", decode_wait_status(status))
        return -1, "exit status unknown"

    def _lives(self, identity: Identity) -> bool:
        # A zombie of our own will be reaped with its status; of somebody else's, it is just gone.
        if is_alive(identity):
            return True
        return state_of(identity) == "Z" and _parent(identity.pid) == os.getpid()

    def _may_adopt(self) -> bool:
        if self._shuts_down and self.state == ProcessStates.UNKNOWN:
            return False  # we may not end it
        return self.state in (*STOPPED_STATES, ProcessStates.BACKOFF) or bool(self._awaited_until_s)

    def _adopt(self, identity: Identity) -> None:
        options = self.config.options
        self._adopted, self.pid = identity, identity.pid
        self.laststart = self._started_s(identity)
        self.delay = self.backoff = 0
        self._awaited_until_s = 0.0
        self.killing = False
        self.spawnerr = self.exitstatus = None
        self.pipes, self.dispatchers = {}, bell.attach(self, identity)
        options.pidhistory[self.pid] = self  # where supervisord is the subreaper, reap() finds us by it
        self.change_state(ProcessStates.STARTING)
        self.change_state(ProcessStates.RUNNING)
        options.logger.info(f"adopted: {self.config.name} with pid {self.pid}")

    def _adopted_ended(self, code: int, message: str) -> None:
        """Tell of the end as supervisord does of its own child's; an unknown exit code is not expected."""
        stopped, expected = self.killing, code in self.config.exitcodes
        try:
            self._let_go()
            self.delay = 0
            self.laststop = time.time()
            self.exitstatus = code
            if stopped:
                self.change_state(ProcessStates.STOPPED)
            else:
                if not expected:
                    self.spawnerr = f"Bad exit code {code}" if code >= 0 else message
                self.change_state(ProcessStates.EXITED, expected=expected)
        finally:
            self.pid = 0  # last: what is told of the change names the pid
        what = message if stopped else f"{message}; {'expected' if expected else 'not expected'}"
        logger = self.config.options.logger
        tell = logger.info if expected else logger.warn
        tell(f"{'stopped' if stopped else 'exited'}: {self.config.name} ({what})")

    def _let_go(self) -> None:
        self._adopted, self.killing = None, False
        for dispatcher in self.dispatchers.values():
            dispatcher.close()
        self.dispatchers = {}
        self.config.options.close_parent_pipes(self.pipes)
        self.pipes = {}

    def _give_up_stopping(self, refusal: str) -> None:
        """Do not wait in a shutdown for one that we may not signal, as supervisord does not for its own child."""
        self.config.options.logger.critical(refusal)
        self._forget_pid(self.pid)
        self._let_go()
        self.change_state(ProcessStates.UNKNOWN)
        self.pid = 0

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
        self.change_state(ProcessStates.STARTING)  # supervisord knows no other way into BACKOFF
        self.backoff = 0
        self.spawnerr = why
        self.change_state(ProcessStates.BACKOFF)

    def _send_to_end(self, sig: int) -> str | None:
        return self._send(sig)

    def _send(self, sig: int, to: Identity | None = None) -> str | None:
        """Signal the adopted process, or another one of the program; return why that cannot be."""
        identity = to or self._adopted
        assert identity is not None
        self.config.options.logger.debug(f"signal {sig} to adopted {self.config.name} (pid {identity.pid})")
        try:
            refused = ending.send(identity, sig) is Outcome.FORBIDDEN  # one that is gone the next look finds
            cause = os.strerror(errno.EPERM) if refused else None
        except OSError as error:
            cause = error.strerror
        return f"cannot signal {self.config.name} (pid {identity.pid}): {cause}" if cause else None


def guarded(logger: Any, what: str, act: Callable[[], object]) -> bool:
    """Run ``act``; an exception is logged instead of ending supervisord. False after one."""
    try:
        act()
    except OSError as error:
        # Of a shortage the words say all, and it comes with every look.
        told = str(error) if is_shortage(error) else traceback.format_exc()
        logger.error(f"snsnode: cannot {what}: {told}")
        return False
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
