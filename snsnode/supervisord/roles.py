"""Our three programs inside supervisord: router, slave and master.

supervisord guards a slave's *first launch* only. From then on the pair restarts itself, and this class shows and
commands what the pair does: an operator's stop is recorded as a durable intent before anything is signalled, a
start clears it and is carried out by the partner where one lives, and while a partner is busy restarting the
program the state is BACKOFF, so that ``stop`` works then too. Only where the whole pair is dead, with no spare to
rescue it, a new first launch is made, out of the pair's own restart budget; and only where both partners are
frozen, and no spare judges them, the slave is ended, so that a new one does.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from supervisor.options import decode_wait_status
from supervisor.states import RUNNING_STATES, ProcessStates, SupervisorStates

from snsnode.base.errors import EXIT_CONFIG, SnsError
from snsnode.node import budget, config, intent
from snsnode.node.config import RoleName
from snsnode.node.lock import is_locked, live_holder, read_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify, send_signal, state_of
from snsnode.observe.journal import Journal
from snsnode.supervisord import standstill
from snsnode.supervisord.adoption import Adopting, guarded
from snsnode.supervisord.standstill import Lasting, Letters, Standstill

HANDOVER_S = 15.0  # the partner has this long to launch the program that it was asked for
ALONE_S = 12.0  # a live master without slave and spare has brought its slave back long before
IDLE_S = 24.0  # a live slave without master and spare has long brought one up, or given it up: a start has 20 s
FROZEN = "stopped (state T)"  # the journal's word, as the partners write it
NEVER_S = 3600.0  # until supervisord's own retry, pushed ahead again on every look


class RoleProcess(Adopting):
    """One of our programs. Both attributes are set when the class is changed."""

    vm_dir: VmDir
    sibling: Callable[[str], Any]  # name → another program of this supervisord, or None

    asked = False  # an operator's start is under way: no waiting

    _relaunch_s: float | None = None  # monotonic; when the budget allows a new first launch
    _alone = Lasting()  # a master lives, and neither slave nor spare
    _spare_alone = Lasting()  # a spare lives, and nobody else
    _idle = Lasting()  # this slave lives, and neither master nor spare
    _standstill = Standstill()
    _ended_frozen = False  # we ended the slave, so that a new one judges its master
    _code = 0  # exit code of our last own child

    @property
    def role(self) -> RoleName:
        """The program's name is its role."""
        return cast(RoleName, self.config.name)

    def _successor(self) -> Identity | None:
        holder = live_holder(self.vm_dir, self.role)
        return holder.identity if holder is not None else None

    def _started_s(self, identity: Identity) -> float:
        # A promoted spare is a process for longer than it is the master.
        holder = read_holder(self.vm_dir, self.role)
        if holder is None or holder.identity != identity:
            return super()._started_s(identity)
        return time.time() - holder.uptime_s

    def transition(self) -> None:
        """As supervisord does; and end a frozen slave where nobody else will."""
        super().transition()
        if self.role == "slave":
            guarded(self.config.options.logger, "look for a pair that hangs", self._judge_standstill)

    def _adopt(self, identity: Identity) -> None:
        self._relaunch_s = None
        self._alone = self._spare_alone = Lasting()
        self._ended_frozen = False
        super()._adopt(identity)

    # --- starting -------------------------------------------------------------------------------------------

    def _spawn_asked(self) -> int | None:
        intent.start(self.vm_dir, self.role)
        if self._partner_launches():
            # It sees the cleared intent; two launchers would race, and its spare is faster than we are.
            self._await(HANDOVER_S)
            return None
        return self._fork()

    def _spawn_unasked(self) -> int | None:
        """Never against an intent, never instead of a partner."""
        if intent.must_not_run(self.vm_dir, self.role) or is_locked(self.vm_dir, self.role):
            return None
        if self.role == "master":
            return None  # never: the slave does
        if self.role == "slave" and (self.laststart or self._partner_launches()):
            return None  # the master, the spare, or _vacant() brings it back
        return self._fork()

    def first_launch(self) -> None:
        """Fork the slave anew where its program was added or changed: the new settings come from here."""
        if not is_locked(self.vm_dir, self.role):
            self._fork()

    @contextmanager
    def starting_now(self) -> Iterator[None]:
        """Leave BACKOFF for an operator's start, which supervisord would refuse there as "already started"."""
        self.look()
        self.asked = True
        try:
            if self.state == ProcessStates.BACKOFF:
                self._relaunch_s = None
                self.change_state(ProcessStates.STOPPED)
            yield
        finally:
            self.asked = False

    def _partner_launches(self) -> bool:
        """Tell whether there is a partner that starts this program as soon as it may."""
        if self.role == "router" or intent.is_paused(self.vm_dir):
            return False
        partner: RoleName = "master" if self.role == "slave" else "slave"
        if intent.is_stopped(self.vm_dir, partner):
            return False  # it is on its way out
        holder = live_holder(self.vm_dir, partner)
        if holder is not None:
            return state_of(holder.identity) not in ("T", "t")
        forked = self.sibling(partner)  # just now, and it has not announced itself yet
        return forked is not None and bool(forked.pid) and forked.state in RUNNING_STATES

    def _nobody_came(self) -> None:
        partner = "master" if self.role == "slave" else "slave"
        self._back_off(f"the {partner} did not launch it; see its log")
        if not is_locked(self.vm_dir, self.role) and not intent.must_not_run(self.vm_dir, self.role):
            self._fork()

    # --- stopping -------------------------------------------------------------------------------------------

    def kill(self, sig: int) -> str | None:
        """Record the intent, then signal; a supervisord that shuts down records none."""
        overdue = self.state == ProcessStates.STOPPING  # this is the SIGKILL after stopwaitsecs
        if not overdue and self.config.options.mood == SupervisorStates.RUNNING:
            try:
                intent.stop(self.vm_dir, self.role)
            except OSError as error:
                return f"cannot record that {self.role} shall stay stopped: {error.strerror}"
        self._relaunch_s = None
        # A frozen process cannot drain, and would sit out the whole grace.
        return super().kill(signal.SIGKILL if _is_frozen(self.pid) else sig)

    def finish(self, pid: int, sts: int) -> None:
        """Keep the exit code: bad configuration is not tried again at once."""
        self._code = decode_wait_status(sts)[0]
        super().finish(pid, sts)

    # --- while nobody is this program -----------------------------------------------------------------------

    def _vacant(self) -> None:
        if self.role == "router" or self.asked or not (self.laststart or self._is_awaited()):
            return
        if intent.is_stopped(self.vm_dir, self.role):
            if self.role == "slave":
                self._end_frozen_spare()  # one that is not frozen leaves by itself
            self._relaunch_s = None
            if self.state != ProcessStates.STOPPED:
                self.change_state(ProcessStates.STOPPED)
        elif self.state != ProcessStates.STOPPED or self.role == "slave" or not self.laststart:
            if self.state != ProcessStates.BACKOFF:
                self._back_off("its partner restarts it")
            self.backoff = 0  # never FATAL: the pair does not give up, it slows down
            self.delay = time.time() + NEVER_S  # and never respawned by supervisord's own clock
            if self.role == "slave":
                self._first_launch_if_all_dead()
            elif intent.is_stopped(self.vm_dir, "slave"):
                self.spawnerr = "the slave, which would restart it, is stopped"
            if intent.is_paused(self.vm_dir):
                self.spawnerr = "restarting is paused; 'snsctl resume' ends that"

    def _is_awaited(self) -> bool:
        """Tell whether a partner brings this program up for the first time that we see, or was to."""
        return self._partner_launches() or (self.role == "master" and self.state == ProcessStates.BACKOFF)

    def _first_launch_if_all_dead(self) -> None:
        self._end_frozen_spare()
        now_s = time.monotonic()
        # In this order: a spare that is sent in takes the master's lock before it lets go of its own.
        alive = [name for name in ("spare", "master", "slave") if is_locked(self.vm_dir, name)]
        wanted = intent.may_start(self.vm_dir, "slave")
        # Who waits as the budget says is not hanging; but for a wait that is our own.
        unguarded = wanted and (self._relaunch_s is not None or not budget.is_waiting(self.vm_dir))
        abandoned = self._is_abandoned(now_s, master_alone=unguarded and alive == ["master"])
        self._end_deaf_spare(now_s, spare_alone=unguarded and alive == ["spare"])
        if not wanted or (alive and not abandoned):
            self._relaunch_s = None
            return
        why = "the master launches no slave" if abandoned else "the whole pair was dead"
        if self._relaunch_s is None:
            self._relaunch_s = now_s + self._ask_budget()
        if now_s >= self._relaunch_s:
            self._relaunch_s = None
            Journal(self.vm_dir.journal, self.vm_dir.path.name, "supervisord").write("first-launch", cause=why)
            self._alone = Lasting()
            self._ended_frozen = False
            self._fork()
        else:
            self.spawnerr = f"{why}; a new first launch in {self._relaunch_s - now_s:.0f} s"

    def _is_abandoned(self, now_s: float, *, master_alone: bool) -> bool:
        """Tell whether a master has brought no slave back for long: it may hang, and only a slave can tell."""
        self._alone = self._alone.look("master" if master_alone else None, now_s)
        if not master_alone:
            return False
        master = live_holder(self.vm_dir, "master")
        frozen = master is not None and state_of(master.identity) == "T"
        patience_s = ALONE_S
        if frozen:  # it will not bring a slave; nor does it drain, or whoever stops it ends it
            patience_s = 0.0 if self._ended_frozen else min(ALONE_S, self._silence_s())
        return self._alone.for_s >= patience_s

    def _end_deaf_spare(self, now_s: float, *, spare_alone: bool) -> None:
        """End a spare that rescues nobody although nobody else is there: it hangs, and keeps us from it."""
        self._spare_alone = self._spare_alone.look("spare" if spare_alone else None, now_s)
        if not spare_alone:
            return
        spare = live_holder(self.vm_dir, "spare")
        # Its wait may be written nowhere but in its memory, where the disk is full.
        patience_s = max(ALONE_S, 1.2 * self._backoff_max_s())
        if self._spare_alone.for_s < patience_s or spare is None or state_of(spare.identity) == "t":
            return
        if send_signal(spare.identity, signal.SIGKILL):
            self.config.options.logger.warn(
                f"snsnode: ended the spare (pid {spare.identity.pid}), which rescues nobody"
            )

    def _end_frozen_spare(self) -> None:
        """End a spare that can neither rescue anybody, which would keep us from doing it, nor leave."""
        spare = live_holder(self.vm_dir, "spare")
        if spare is not None and state_of(spare.identity) == "T":
            send_signal(spare.identity, signal.SIGKILL)

    def _judge_standstill(self) -> None:
        holders = {name: live_holder(self.vm_dir, name) for name in ("slave", "master", "spare")}
        letters = Letters(*(state_of(found.identity) if found else None for found in holders.values()))
        wanted = intent.may_start(self.vm_dir, "slave") and self.state != ProcessStates.STOPPING
        slave = holders["slave"]
        if slave is not None and wanted:
            self._judge_idle(slave.identity, letters)
        if slave is None or letters.slave != "T" or not wanted:
            self._standstill = Standstill(looked_s=time.monotonic())
            return
        self._standstill, end = standstill.look(self._standstill, letters, time.monotonic(), self._silence_s())
        if end and send_signal(slave.identity, signal.SIGKILL):
            self._ended_frozen = True
            self._standstill = Standstill()
            self.config.options.logger.warn(
                f"snsnode: ended the slave (pid {slave.identity.pid}), which is frozen"
            )
            Journal(self.vm_dir.journal, self.vm_dir.path.name, "supervisord").write(
                "slave-down", cause=FROZEN, partner_pid=slave.identity.pid
            )

    def _judge_idle(self, slave: Identity, letters: Letters) -> None:
        """End a slave that brings no master up: it hangs, and nobody else is left who could tell."""
        idle = letters.slave not in ("T", "t") and letters.master is None and letters.spare is None
        self._idle = self._idle.look(slave if idle and not self._may_be_launching() else None, time.monotonic())
        if self._idle.for_s > max(IDLE_S, 1.2 * self._backoff_max_s()):
            self._idle = Lasting()
            if send_signal(slave, signal.SIGKILL):
                self.config.options.logger.warn(
                    f"snsnode: ended the slave (pid {slave.pid}), which launches no master"
                )
                Journal(self.vm_dir.journal, self.vm_dir.path.name, "supervisord").write(
                    "slave-down", cause="it launches no master", partner_pid=slave.pid
                )

    def _may_be_launching(self) -> bool:
        if not intent.may_start(self.vm_dir, "master") or budget.is_waiting(self.vm_dir):
            return True
        return is_locked(self.vm_dir, "master") or is_locked(self.vm_dir, "spare")

    def _silence_s(self) -> float:
        try:
            return config.load(self.vm_dir.path).keepalive.silence_s
        except SnsError:
            return ALONE_S

    def _backoff_max_s(self) -> float:
        try:
            return config.load(self.vm_dir.path).restart.backoff_max_s
        except SnsError:
            return ALONE_S

    def _ask_budget(self) -> float:
        """Return the seconds to wait before a new first launch."""
        try:
            rule = config.load(self.vm_dir.path).restart
        except SnsError:
            return 10.0  # the slave will say what is wrong with node.json
        hopeless = self._code == EXIT_CONFIG
        return budget.withdraw(self.vm_dir, rule, "slave", random.random(), hopeless=hopeless)[1]


def _is_frozen(pid: int) -> bool:
    found = identify(pid) if pid else None
    return found is not None and state_of(found) == "T"
