"""Programs that may be several processes for a while: the named process follows one that still lives.

A web server's binary upgrade starts the new process beside the old one, and a launcher may live on beside its
daemon. The program is then the named process; the others are remembered. A stop ends all of them, and ends itself
when none is left; a new one that appears meanwhile is ended too. When the named process dies and one before it
lives, the program is that one again.
"""

import time

from supervisor.options import decode_wait_status
from supervisor.states import ProcessStates

from snsnode.node import ending
from snsnode.node.process import Identity, identify
from snsnode.supervisord import bell
from snsnode.supervisord.adoption import Adopting

QUIET_S = 2.0  # after a stop nothing is adopted for so long, so that the caller sees that the stop is done


class Following(Adopting):
    """A program whose ``_successor`` may be named while its process still lives."""

    _beside: tuple[Identity, ...] = ()  # live processes of the program that were named before; the latest last
    _forked: Identity | None = None  # of all of them, supervisord's own child
    _pursued_until_s = 0.0  # monotonic; a stop ends every process that appears until then, and not for ever
    _quiet_until_s = 0.0  # monotonic

    def spawn(self) -> int | None:
        """Start the program; an operator need not wait until it is quiet."""
        if not self._automatic:
            self._quiet_until_s = 0.0
        return super().spawn()

    def kill(self, sig: int) -> str | None:
        """End all processes of the program, and for a while also those that appear in their place."""
        if self.state != ProcessStates.STOPPING and not (self._shuts_down and self._pursued_until_s):
            self._pursued_until_s = time.monotonic() + max(2.0 * self.config.stopwaitsecs, QUIET_S)
        return super().kill(sig)

    def _finish(self, pid: int, sts: int) -> None:
        """Take the end of a child, which need not be the end of the program."""
        if pid != self.pid:
            self._beside_ended(pid, sts)
            return
        if self._adopted is None and self._is_up():
            self._drain_output()
            if self._follow(self._heir(), leaves=None):
                return
        super()._finish(pid, sts)
        self._be_quiet_once_stopped()

    def _look(self) -> None:
        for gone in [one for one in self._beside if not self._lives(one)]:
            self._forget_pid(gone.pid)
            self._beside = tuple(one for one in self._beside if one != gone)
        if self.pid and self._is_up():
            present = self._adopted or identify(self.pid)
            if present is not None and self._lives(present):
                self._follow(self._heir(), leaves=present)
        super()._look()

    def _may_adopt(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._quiet_until_s or (self._shuts_down and 0 < self._pursued_until_s < now_s):
            return False
        return super()._may_adopt()

    def _is_up(self) -> bool:
        return self.state in (ProcessStates.STARTING, ProcessStates.RUNNING, ProcessStates.STOPPING)

    def _heir(self) -> Identity | None:
        """Return the live process that is named and that the program is not yet."""
        if self.state == ProcessStates.STOPPING and time.monotonic() > self._pursued_until_s:
            return None  # somebody starts it again and again
        found = self._successor()
        return found if found is not None and found.pid != self.pid else None

    def _follow(self, heir: Identity | None, *, leaves: Identity | None) -> bool:
        """Be ``heir`` from now on; ``leaves``, the process before it, still lives. False where that cannot be."""
        known = (*self._beside, *([leaves] if leaves is not None else []))
        if heir is None:
            return False
        if self.state == ProcessStates.STOPPING and heir not in known and not self._stop_too(heir):
            return False
        if self._adopted is None:
            self._forked = leaves
        self._beside = tuple(one for one in known if one != heir)
        before = self.pid
        self._be(heir)
        if self.state == ProcessStates.STARTING:
            self.delay = self.backoff = 0
            self.change_state(ProcessStates.RUNNING)
        self.config.options.logger.info(f"followed: {self.config.name} from pid {before} to pid {heir.pid}")
        return True

    def _stop_too(self, heir: Identity) -> bool:
        """Signal one that appeared during a stop, which then waits for it as well; False where we may not."""
        refusal = self._send(self.config.stopsignal, heir)
        if refusal is not None:
            self.config.options.logger.error(f"snsnode: {refusal}")
            self._pursued_until_s = 0.0
            return False
        self._give_grace()
        return True

    def _be(self, identity: Identity) -> None:
        self._adopted, self.pid = identity, identity.pid
        self.laststart = self._started_s(identity)
        self.config.options.pidhistory[self.pid] = self
        # The output of a child of ours is read on: its heir may write into the same pipe.
        kept = {}
        for descriptor, dispatcher in self.dispatchers.items():
            if isinstance(dispatcher, bell.Bell):
                dispatcher.close()
            else:
                kept[descriptor] = dispatcher
        self.dispatchers = kept | bell.attach(self, identity)

    def _adopted_ended(self, code: int, message: str) -> None:
        """Be one of the processes before it again, where one lives."""
        ended = f"exited: one process of {self.config.name} (pid {self.pid}; {message})"
        heir = self._beside[-1] if self._beside else None
        if heir is None and self.killing:
            heir = self._heir()
        if self._follow(heir, leaves=None):
            self.config.options.logger.info(ended)
            return
        self._drain_output()
        super()._adopted_ended(code, message)
        self._forked = None
        self._be_quiet_once_stopped()

    def _beside_ended(self, pid: int, sts: int) -> None:
        if any(one.pid == pid for one in self._beside):
            self._beside = tuple(one for one in self._beside if one.pid != pid)
            message = decode_wait_status(sts)[1]
            self.config.options.logger.info(f"exited: one process of {self.config.name} (pid {pid}; {message})")

    def _be_quiet_once_stopped(self) -> None:
        if self.state == ProcessStates.STOPPED and not self._shuts_down:
            self._pursued_until_s = 0.0
            self._quiet_until_s = time.monotonic() + QUIET_S

    def _send_to_end(self, sig: int) -> str | None:
        for one in self._beside:
            self._send_to(one, sig)
        assert self._adopted is not None
        return self._send_to(self._adopted, sig)

    def _send_to(self, identity: Identity, sig: int) -> str | None:
        config = self.config
        as_group = config.killasgroup if self.state == ProcessStates.STOPPING else config.stopasgroup
        if as_group and identity == self._forked:  # not reaped yet, so its number is nobody else's
            ending.send_to_group(identity, sig)
        return self._send(sig, identity)

    def _drain_output(self) -> None:
        for dispatcher in list(self.dispatchers.values()):
            if not isinstance(dispatcher, bell.Bell) and dispatcher.readable():
                dispatcher.handle_read_event()
