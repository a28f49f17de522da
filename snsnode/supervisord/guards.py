"""Whom supervisord ends in a pair, where nobody else is left to do it: a slave or a spare that hangs.

Called by ``roles`` on each turn of supervisord's loop, for the slave's program: whoever is ended here, the end is
what brings a new slave, which judges the master. A slave that merely waits is left alone, and so is one that is
paused, that an operator stopped, or that a debugger holds.
"""

import signal
import time
from collections.abc import Sequence

from supervisor.loggers import Logger

from snsnode.base.errors import SnsError
from snsnode.node import budget, config, intent, progress
from snsnode.node.config import NodeConfig
from snsnode.node.lock import is_locked, live_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, send_signal, state_of
from snsnode.observe.journal import Journal
from snsnode.supervisord import standstill
from snsnode.supervisord.standstill import GUARDS_S, Lasting, Letters, Standstill

ALONE_S = 12.0  # a live master without slave and spare has brought its slave back long before
IDLE_S = 24.0  # a live slave without master and spare has long brought one up, or given it up: a start has 20 s
FROZEN = "stopped (state T)"  # the journal's word, as the partners write it


class PairGuard:
    """What supervisord remembers of one pair. Times are monotonic seconds."""

    def __init__(self, vm_dir: VmDir, logger: Logger) -> None:
        self._vm_dir = vm_dir
        self._logger = logger
        self._alone = Lasting()  # a master lives, with or without a spare, and no slave
        self._spare_alone = Lasting()  # a spare lives, and nobody else
        self._idle = Lasting()  # a slave lives, and neither master nor spare
        self._unmoved = Lasting()  # a slave lives, and its counter stands still
        self._standstill = Standstill()
        self._ended_frozen = False  # we ended the slave, so that a new one judges its master

    def slave_came(self) -> None:
        """Forget for how long there was none."""
        self._alone = self._spare_alone = Lasting()
        self._ended_frozen = False

    def judge_slave(self, *, wanted: bool) -> None:
        """End a slave that is ``wanted`` to run but hangs, or brings no master up, where nobody else will."""
        holders = {name: live_holder(self._vm_dir, name) for name in ("slave", "master", "spare")}
        letters = Letters(*(state_of(found.identity) if found else None for found in holders.values()))
        slave = holders["slave"]
        if slave is not None and wanted and not self._judge_idle(slave.identity, letters):
            self._judge_unmoved(slave.identity, letters)
        if slave is None or letters.slave != "T" or not wanted:
            self._standstill = Standstill(looked_s=time.monotonic())
            return
        self._standstill, end = standstill.look(self._standstill, letters, time.monotonic(), self._silence_s())
        if end and self._end_slave(slave.identity, "is frozen", FROZEN):
            self._ended_frozen = True
            self._standstill = Standstill()

    def is_abandoned(self, now_s: float, left: Sequence[str]) -> bool:
        """Tell whether a master has brought no slave back for long: it may hang, and only a slave can tell.

        ``left``: who lives of a pair that lacks a slave, and that nobody makes wait; empty where that is not so.
        """
        self._alone = self._alone.look(tuple(left) if "master" in left else None, now_s)
        if "master" not in left:
            return False
        if "spare" in left:  # which launches the slave after the silence, if it does not hang as well
            return self._alone.for_s >= ALONE_S and self._alone.for_s >= 2 * self._silence_s()
        master = live_holder(self._vm_dir, "master")
        frozen = master is not None and state_of(master.identity) == "T"
        patience_s = ALONE_S
        if frozen:  # it will not bring a slave; nor does it drain, or whoever stops it ends it
            patience_s = 0.0 if self._ended_frozen else min(ALONE_S, self._silence_s())
        return self._alone.for_s >= patience_s

    def end_deaf_spare(self, now_s: float, *, spare_alone: bool) -> None:
        """End a spare that rescues nobody although nobody else is there: it hangs, and keeps us from it."""
        self._spare_alone = self._spare_alone.look("spare" if spare_alone else None, now_s)
        if not spare_alone:
            return
        spare = live_holder(self._vm_dir, "spare")
        # Its wait may be written nowhere but in its memory, where the disk is full.
        patience_s = max(ALONE_S, 1.2 * self._backoff_max_s())
        if self._spare_alone.for_s < patience_s or spare is None or state_of(spare.identity) == "t":
            return
        if send_signal(spare.identity, signal.SIGKILL):
            self._logger.warn(f"snsnode: ended the spare (pid {spare.identity.pid}), which rescues nobody")

    def end_frozen_spare(self) -> None:
        """End a spare that can neither rescue anybody, which would keep us from doing it, nor leave."""
        spare = live_holder(self._vm_dir, "spare")
        if spare is not None and state_of(spare.identity) == "T":
            send_signal(spare.identity, signal.SIGKILL)

    def _judge_idle(self, slave: Identity, letters: Letters) -> bool:
        """End a slave that has brought no master up for long, beside nobody; tell whether it did."""
        idle = letters.slave not in ("T", "t") and letters.master is None and letters.spare is None
        self._idle = self._idle.look(slave if idle and not self._may_be_launching() else None, time.monotonic())
        if self._idle.for_s <= IDLE_S or self._idle.for_s <= 1.2 * self._backoff_max_s():
            return False
        self._idle = Lasting()
        return self._end_slave(slave, "launches no master", "it launches no master")

    def _judge_unmoved(self, slave: Identity, letters: Letters) -> None:
        """End a slave whose event loop has not turned for long.

        Master or spare notice that much earlier: who stands still for this long is guarded by nobody who can act.
        """
        count = progress.read_once(slave)  # None: it does not show any
        held = letters.is_traced or letters.slave in ("T", "D")  # frozen is another case; D is the disk's to end
        what = None if held or count is None else (slave, count)
        self._unmoved = self._unmoved.look(what, time.monotonic())
        if self._unmoved.for_s > GUARDS_S and self._unmoved.for_s > 2 * self._silence_s():
            self._unmoved = Lasting()
            self._end_slave(slave, "does not move", "it does not move")

    def _may_be_launching(self) -> bool:
        if not intent.may_start(self._vm_dir, "master") or budget.is_waiting(self._vm_dir):
            return True
        return is_locked(self._vm_dir, "master") or is_locked(self._vm_dir, "spare")

    def _end_slave(self, slave: Identity, what: str, cause: str) -> bool:
        if not send_signal(slave, signal.SIGKILL):
            return False
        self._logger.warn(f"snsnode: ended the slave (pid {slave.pid}), which {what}")
        Journal(self._vm_dir.journal, self._vm_dir.path.name, "supervisord").write(
            "slave-down", cause=cause, partner_pid=slave.pid
        )
        return True

    def _silence_s(self) -> float:
        found = self._config()
        return ALONE_S if found is None else found.keepalive.silence_s

    def _backoff_max_s(self) -> float:
        found = self._config()
        return ALONE_S if found is None else found.restart.backoff_max_s

    def _config(self) -> NodeConfig | None:
        try:
            return config.load(self._vm_dir.path)
        except SnsError:
            return None  # the slave will say what is wrong with node.json
