"""Our three programs inside supervisord: router, slave and master.

supervisord guards a slave's *first launch* only. From then on the pair restarts itself, and this class shows and
commands what the pair does: an operator's stop is recorded as a durable intent before anything is signalled, a
start clears it and is carried out by the partner where one lives, and while a partner is busy restarting the
program the state is BACKOFF, so that ``stop`` works then too. Only where the whole pair is dead, with no spare to
rescue it, or where a master brings no slave back, a new first launch is made, out of the pair's own restart
budget. Whom supervisord *ends* because nobody else can is in ``guards`` and
``router_guard``.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from supervisor.options import decode_wait_status
from supervisor.states import RUNNING_STATES, ProcessStates, SupervisorStates

from snsnode.base.errors import EXIT_CONFIG, SnsError
from snsnode.guard.judge import Action
from snsnode.guard.plan import Plan, follow
from snsnode.node import budget, config, ending, intent
from snsnode.node.config import RoleName
from snsnode.node.lock import is_locked, live_holder, read_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify, state_of
from snsnode.observe.events import FirstLaunch
from snsnode.observe.journal import Journal
from snsnode.supervisord.adoption import Adopting, guarded
from snsnode.supervisord.guards import PairGuard
from snsnode.supervisord.router_guard import RouterGuard

HANDOVER_S = 15.0  # the partner has this long to launch the program that it was asked for
NEVER_S = 3600.0  # until supervisord's own retry, pushed ahead again on every look


class RoleProcess(Adopting):
    """One of our programs. The attributes without a value are set when the class is changed."""

    vm_dir: VmDir
    guard: PairGuard  # used by the slave's program
    router_guard: RouterGuard  # used by the router's
    sibling: Callable[[str], Any]  # name → another program of this supervisord, or None

    asked = False  # an operator's start is under way: no waiting

    _plan: Plan | None = None  # a new first launch
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
        """As supervisord does; and end a slave that hangs where nobody else will, and a router that does."""
        super().transition()
        if self.role == "slave":
            guarded(self.config.options.logger, "look at the pair", self._look_at_pair)
        elif self.role == "router":
            guarded(self.config.options.logger, "look at the router", self._look_at_router)

    def _look_at_router(self) -> None:
        self.router_guard.look(
            child=self.pid if self._adopted is None else 0, stopping=self.state == ProcessStates.STOPPING
        )

    def _look_at_pair(self) -> None:
        """Let the judge look; carry out its launch when the budget allows it, while the judge still wants it."""
        launch = self.guard.look(
            child=self.pid if self._adopted is None else 0,
            stopping=self.state == ProcessStates.STOPPING,
            waiting=self._plan is not None,
        )
        now_s, wanted = time.monotonic(), launch if self._may_launch() else None
        self._plan, is_due = follow(self._plan, wanted, now_s, self._ask_budget)
        if wanted is not None and is_due:
            Journal(self.vm_dir.journal, self.vm_dir.path.name, "supervisord").write(
                FirstLaunch(cause=wanted.cause)
            )
            self._fork()
        elif wanted is not None and self._plan is not None:
            self.spawnerr = f"{wanted.cause}; a new first launch in {self._plan.at_s - now_s:.0f} s"

    def _may_launch(self) -> bool:
        """Tell whether nobody else is launching the slave now: an operator, or a partner on request."""
        if self.pid or self.asked or self._awaited_until_s:
            return False
        running = self.config.options.mood == SupervisorStates.RUNNING
        return running and bool(self.laststart or self._is_awaited())

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
                self._plan = None
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
        self._plan = None
        found = identify(self.pid) if self.pid else None
        return super().kill(ending.fitting(found, sig) if found is not None else sig)

    def finish(self, pid: int, sts: int) -> None:
        """Keep the exit code: bad configuration is not tried again at once."""
        self._code = decode_wait_status(sts)[0]
        super().finish(pid, sts)

    # --- while nobody is this program -----------------------------------------------------------------------

    def _vacant(self) -> None:
        if self.role == "router" or self.asked or not (self.laststart or self._is_awaited()):
            return
        if intent.is_stopped(self.vm_dir, self.role):
            if self.state != ProcessStates.STOPPED:
                self.change_state(ProcessStates.STOPPED)
        elif self.state != ProcessStates.STOPPED or self.role == "slave" or not self.laststart:
            if self.state != ProcessStates.BACKOFF:
                self._back_off("its partner restarts it")
            self.backoff = 0  # never FATAL: the pair does not give up, it slows down
            self.delay = time.time() + NEVER_S  # and never respawned by supervisord's own clock
            if self.role == "master" and intent.is_stopped(self.vm_dir, "slave"):
                self.spawnerr = "the slave, which would restart it, is stopped"
            if intent.is_paused(self.vm_dir):
                self.spawnerr = "restarting is paused; 'snsctl resume' ends that"

    def _is_awaited(self) -> bool:
        """Tell whether a partner brings this program up for the first time that we see, or was to."""
        return self._partner_launches() or (self.role == "master" and self.state == ProcessStates.BACKOFF)

    def _ask_budget(self, launch: Action) -> float:
        """Return the seconds to wait before a new first launch."""
        try:
            rule = config.load(self.vm_dir.path).restart
        except SnsError:
            return 10.0  # the slave will say what is wrong with node.json
        hopeless = self._code == EXIT_CONFIG
        return budget.withdraw(self.vm_dir, rule, launch.place.value, random.random(), hopeless=hopeless)[1]
