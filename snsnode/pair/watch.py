"""The watcher: feeds one partner's life to the pure machine and carries out what it decides.

The kernel rings the bell: a pidfd on the partner wakes us milliseconds after its death. Everything else is
looked at ten times a second: which process holds the role, its state, its progress, the operator's intents.

Whatever happens becomes an event in one queue, and ``run`` alone feeds the machine from it: an event leaves the
queue once the machine has taken it. Where we lack something ourselves (descriptors, memory, a disk), a look is
skipped and an action is tried again; neither is lost, and neither says anything about the partner.
"""

import asyncio
import contextlib
import logging
import os
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard

from snsnode.base.errors import EXIT_CONFIG, SnsError
from snsnode.guard import machine
from snsnode.guard.machine import Cause, Phase
from snsnode.guard.times import TICK_S
from snsnode.node import budget, ending, intent
from snsnode.node.config import NodeConfig, RoleName
from snsnode.node.lock import Holder, live_holder, read_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, is_alive, open_pidfd, state_of
from snsnode.node.progress import ProgressReader
from snsnode.observe import events
from snsnode.observe.journal import Journal
from snsnode.pair import disk
from snsnode.pair.fence import kill_and_await
from snsnode.pair.planned import PLANNED_S, Unwanted, is_paid
from snsnode.pair.spawn import Child

log = logging.getLogger(__name__)

STARTING_LOOK_S = 0.005  # how often a starting partner's progress is looked for
EXIT_CODES_MAX = 16
BEATS_AT_ONCE = 2  # outstanding KeepAlives at most
HEARD_MAX = 16  # beats that were heard and not looked at yet; more would tell nothing new
COMPLAIN_EVERY_S = 5.0  # about what we lack ourselves
BUDGET_S = 1.0  # the ledger has this long to answer
BLIND_WAIT_S = 2.0  # before a restart that it did not answer for
UNANNOUNCED_S = 2.0  # at our end a starting partner has this long to take its role, or to be stopped too


@dataclass(frozen=True, slots=True)
class Partner:
    """What differs between the two directions of the watch."""

    role: RoleName
    launch: Callable[[Cause], Awaitable[Child]]  # raises SnsError
    beat: Callable[[Identity], Awaitable[None]] | None  # raises SnsError when missed; None where we listen
    on_down: Callable[[Holder | None, Cause], None]  # its death is certain: tell the router


class Watch:
    """Watches one partner, replaces it when it fails, and honours the operator's intents."""

    def __init__(
        self, vm_dir: VmDir, config: NodeConfig, partner: Partner, rules: machine.Rules, journal: Journal
    ) -> None:
        self._vm_dir = vm_dir
        self._config = config
        self._partner = partner
        self._rules = rules
        self._journal = journal
        self._state = machine.State()
        self._progress = ProgressReader()
        self._events: deque[machine.Event] = deque()  # not fed to the machine yet
        self._pidfd = -1
        self._pinned: Identity | None = None  # the process that has the pidfd, or had it until its death
        self._holder: Holder | None = None  # the last one that announced itself
        self._children: list[Child] = []
        self._exit_codes: dict[Identity, int] = {}
        self._unwanted: Unwanted | None = None
        self._tasks = asyncio.TaskGroup()  # of ``run``
        self._beats = 0  # outstanding
        self._replacing = False  # a Clear or Launch is under way
        self._untold: tuple[Holder | None, Cause] | None = None  # an end that nobody was told of yet
        self._down_s = 0.0  # when the outage that is being repaired was noticed
        self._complained_s = float("-inf")
        self._wake = asyncio.Event()

    @property
    def partner(self) -> Identity | None:
        """Who is watched now."""
        return self._state.partner

    @property
    def phase(self) -> Phase:
        """Where the watch stands."""
        return self._state.phase

    def heard_from(self, identity: Identity) -> None:
        """Take a beat that the partner sent us."""
        if len(self._events) < HEARD_MAX:
            self._put(machine.Answered(identity))

    async def run(self) -> None:
        """Watch until cancelled. What was launched lives on: the partners do not die together.

        A defect of ours ends the watch, and with it the process: the partner restarts us.
        """
        try:
            async with self._tasks:
                while True:
                    self._attempt(self._look)
                    await self._until_next_tick()
        finally:
            self._unpin()
            await self._end_unannounced()

    async def _until_next_tick(self) -> None:
        """Feed what comes for ``TICK_S``; less when a starting partner shows its first progress."""
        until_s = time.monotonic() + TICK_S
        while (rest_s := until_s - time.monotonic()) > 0:
            starting = self._state.partner if self._state.phase is Phase.STARTING else None
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the wake-up.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_s if starting is None else min(rest_s, STARTING_LOOK_S)):
                    await self._wake.wait()
            self._wake.clear()
            self._attempt(self._feed_all)
            if starting is not None and self._state.progress is None and self._progress.read(starting):
                return

    def _look(self) -> None:
        self._feed_all()
        self._reap()
        self._look_for_holder()
        self._pin()
        self._feed(self._sample())

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do ``step``; where we lack something ourselves, the next look does it again."""
        try:
            step()
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if time.monotonic() - self._complained_s > COMPLAIN_EVERY_S:
            self._complained_s = time.monotonic()
            log.warning("cannot look after the %s: %s; trying again", self._partner.role, error)

    # --- what comes in -----------------------------------------------------------------------------------

    def _put(self, event: machine.Event) -> None:
        self._events.append(event)
        self._wake.set()

    def _feed_all(self) -> None:
        while self._events:
            event = self._events[0]
            if isinstance(event, machine.Answered) and event.partner != self._state.partner:
                self._look_for_holder()
            self._feed(event)
            self._events.popleft()
            if not self._replacing:  # no launch follows
                self._tell_down()

    def _tell_down(self) -> None:
        """Tell of the end, after the launch that was due: a spare that waits for its "go" shall not wait."""
        if self._untold is not None:
            holder, cause = self._untold
            self._untold = None
            self._partner.on_down(holder, cause)

    def _feed(self, event: machine.Event) -> None:
        """Let the machine take ``event``; where this raises, it has not."""
        wanted = intent.may_start(self._vm_dir, self._partner.role)
        before = self._state
        if not wanted and before.partner is not None and intent.is_stopped(self._vm_dir, self._partner.role):
            self._unwanted = Unwanted(before.partner, time.monotonic())
        self._state, actions = machine.step(before, event, time.monotonic(), self._rules, wanted=wanted)
        for action in actions:
            self._act(action, again=before.phase is Phase.CLEARING)
        self._attempt(self._pin)
        if self._state.phase is Phase.UP and before.phase in (Phase.STARTING, Phase.CLEARING):
            self._came_up()

    def _sample(self) -> machine.Tick:
        partner = self._state.partner
        if partner is None:
            return machine.Tick()
        return machine.Tick(state_of(partner), self._progress.read(partner))

    def _look_for_holder(self) -> None:
        """Notice who holds the role now, whoever started it."""
        if self._replacing:
            return
        holder = live_holder(self._vm_dir, self._partner.role)
        before = self._state.partner
        if holder is not None and holder.identity != before and self._is_to_be_cleared(before):
            # The successor was quicker than the kernel's word: first the death, of which nobody was told yet.
            self._feed(machine.Died(before))
            return
        self._holder = holder or self._holder
        if holder is not None and holder.identity != before:
            settled = holder.uptime_s > self._rules.start_deadline_s
            self._feed(machine.Seen(holder.identity, settled))

    def _is_to_be_cleared(self, partner: Identity | None) -> TypeGuard[Identity]:
        return partner is not None and self._state.phase is not Phase.CLEARING and not is_alive(partner)

    def _pin(self) -> None:
        """Let the kernel tell us of the partner's death, if it does not yet."""
        partner = self._state.partner
        if partner == self._pinned:
            return
        self._unpin()
        if partner is None:
            return
        pidfd = open_pidfd(partner)
        self._pinned = partner
        if pidfd is None:
            self._put(machine.Died(partner))
            return
        self._pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._died, partner)

    def _unpin(self) -> None:
        self._pinned = None
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _died(self, partner: Identity) -> None:
        self._unpin()
        self._pinned = partner  # it was, and there is nothing more to hear of it
        self._reap()
        self._put(machine.Died(partner))

    def _reap(self) -> None:
        for child in list(self._children):
            code = child.process.poll()
            if code is not None:
                self._children.remove(child)
                self._exit_codes[child.identity] = code
                if len(self._exit_codes) > EXIT_CODES_MAX:  # some ended before they were anybody's partner
                    del self._exit_codes[next(iter(self._exit_codes))]
                log.info("%s (process %d) ended with %d", self._partner.role, child.identity.pid, code)

    async def _end_unannounced(self) -> None:
        """End a child that is not meant to run and has not taken its role yet: nobody else can find it.

        Where both partners are stopped, the other's intent may come a moment after our own signal: while there is
        such a child, it is waited for, ``UNANNOUNCED_S`` at most; then it is let come up.
        """
        until_s = time.monotonic() + UNANNOUNCED_S
        while time.monotonic() < until_s:
            with contextlib.suppress(OSError):
                unannounced = self._unannounced()
                if not unannounced:
                    return
                if intent.must_not_run(self._vm_dir, self._partner.role):
                    for child in unannounced:
                        ending.kill_child(child.process)
            await asyncio.sleep(STARTING_LOOK_S)
            self._reap()

    def _unannounced(self) -> list[Child]:
        holder = live_holder(self._vm_dir, self._partner.role)
        return [child for child in self._children if holder is None or holder.identity != child.identity]

    # --- what goes out -----------------------------------------------------------------------------------

    def _act(self, action: machine.Action, *, again: bool) -> None:
        match action:
            case machine.Beat(partner):
                if self._partner.beat is not None and self._beats < BEATS_AT_ONCE:
                    self._beats += 1
                    self._tasks.create_task(self._beat(partner), name=f"beat-{partner.pid}")
            case machine.Clear(partner, cause):
                if not again:  # a Clear that broke off is of the same outage
                    self._down_s = time.monotonic()
                self._replace(partial(self._clear, partner, cause), "clear")
            case machine.Launch(cause):
                self._replace(partial(self._launch, cause), "launch")

    def _replace(self, work: Callable[[], Awaitable[machine.Event]], name: str) -> None:
        async def run() -> None:
            try:
                event = await work()
            except OSError as error:
                self._complain(error)
                event = machine.Failed()
            finally:
                self._replacing = False
            self._put(event)

        self._replacing = True
        self._tasks.create_task(run(), name=f"{name}-{self._partner.role}")

    async def _beat(self, partner: Identity) -> None:
        assert self._partner.beat is not None
        try:
            await self._partner.beat(partner)
        except SnsError as error:
            if self._state.phase is not Phase.STARTING:
                log.info("KeepAlive to process %d missed: %s", partner.pid, error.message)
            self._put(machine.Missed(partner))
        except OSError as error:
            self._complain(error)  # we did not ask, so nothing was missed
        else:
            self._put(machine.Answered(partner))
        finally:
            self._beats -= 1

    async def _clear(self, partner: Identity, cause: Cause) -> machine.Event:
        """Do what ``machine.Clear`` says. All that may break off comes before anything is told or spent."""
        holder = self._last_known(partner)
        if not (await kill_and_await(partner)).is_dead:
            return machine.Failed()
        self._reap()
        wanted = intent.may_start(self._vm_dir, self._partner.role)
        seen = self._unwanted is not None and self._unwanted.explains(partner, time.monotonic())
        since_s = holder.since_s if holder is not None else float("inf")
        planned = seen or intent.was_stopped(self._vm_dir, self._partner.role, since_s, PLANNED_S)
        successor = live_holder(self._vm_dir, self._partner.role)
        code = self._exit_codes.get(partner)
        paid = is_paid(succeeded=successor is not None, wanted=wanted, planned=planned)
        spent = await self._withdraw(hopeless=code == EXIT_CONFIG) if paid else None
        self._exit_codes.pop(partner, None)
        kind = events.Stopped if planned or not wanted else events.Down
        self._journal.write(
            kind(
                of=self._partner.role,
                cause=cause.value,
                partner_pid=partner.pid,
                epoch=holder.epoch if holder and holder.epoch else None,
                exit_code=code,
            )
        )
        if holder is not None or cause is not Cause.DEAD:
            self._untold = holder, cause
        if successor is not None:  # somebody else was quicker: the spare, or supervisord
            return machine.Seen(successor.identity)
        return self._cleared(spent) if spent is not None else machine.Cleared(0.0)

    def _last_known(self, partner: Identity) -> Holder | None:
        """Return what ``partner`` announced, also after it withdrew its pid file; None where it never did."""
        found = read_holder(self._vm_dir, self._partner.role)
        for holder in (found, self._holder):
            if holder is not None and holder.identity == partner:
                return holder
        return None

    async def _launch(self, cause: Cause) -> machine.Event:
        try:
            return await self._launched(cause)
        finally:
            self._tell_down()

    async def _launched(self, cause: Cause) -> machine.Event:
        """Launch, and report who was launched; where that fails the budget says when to try again."""
        if cause is Cause.FIRST:
            self._down_s = time.monotonic()
        successor = live_holder(self._vm_dir, self._partner.role)
        if successor is not None:
            return machine.Seen(successor.identity)
        try:
            child = await self._partner.launch(cause)
        except SnsError as error:
            log.error("%s", error.message)
            self._journal.write(events.LaunchFailed(of=self._partner.role, cause=error.message))
            return self._cleared(await self._withdraw(hopeless=error.exit_code == EXIT_CONFIG))
        self._children.append(child)
        log.info("launched %s as process %d: %s", self._partner.role, child.identity.pid, cause.value)
        return machine.Seen(child.identity)

    async def _withdraw(self, *, hopeless: bool) -> tuple[budget.Budget, float]:
        role, unit = self._partner.role, random.random()
        spend = partial(budget.withdraw, self._vm_dir, self._config.restart, role, unit, hopeless=hopeless)
        try:
            return await disk.do(spend, BUDGET_S)
        except TimeoutError:  # a disk that hangs: nobody knows what was spent, and the pair must come back
            return budget.Budget(delayed=1), BLIND_WAIT_S

    def _cleared(self, withdrawn: tuple[budget.Budget, float]) -> machine.Cleared:
        spent, wait_s = withdrawn
        if spent.degraded:
            log.error("DEGRADED: the restart budget is used up; next %s in %.1f s", self._partner.role, wait_s)
            self._journal.write(
                events.Degraded(partner=self._partner.role, wait_ms=round(wait_s * 1000), restarts=spent.delayed)
            )
        return machine.Cleared(wait_s)

    def _came_up(self) -> None:
        holder = read_holder(self._vm_dir, self._partner.role)
        partner = self._state.partner
        assert partner is not None
        took_s = time.monotonic() - self._down_s if self._down_s else None
        self._down_s = 0.0
        self._journal.write(
            events.Up(
                of=self._partner.role,
                cause=self._state.cause.value,
                partner_pid=partner.pid,
                epoch=holder.epoch if holder and holder.epoch else None,
                took_ms=round(took_s * 1000, 1) if took_s is not None else None,
            )
        )
