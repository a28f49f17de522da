"""The watcher's hands in the simulated world: what snsnode/pair/watch.py does, for the same pure machine."""

from collections.abc import Callable

from snsnode.guard import machine
from snsnode.guard.machine import Cause, Phase
from snsnode.node.process import Identity
from snsnode.pair.planned import Unwanted, is_paid
from snsnode.pair.watch import BEATS_AT_ONCE, STARTING_LOOK_S
from tests.simulation import delays
from tests.simulation.clock import Timer, cancel
from tests.simulation.vm import VM, Process, Role


class Watch:
    """``owner`` watches the partner that holds ``role``."""

    def __init__(
        self,
        owner: Process,
        role: Role,
        launch: Callable[[Cause], Process],
        on_down: Callable[[Process | None], None],
    ) -> None:
        self.owner = owner
        self.vm: VM = owner.vm
        self.world = owner.world
        self.role: Role = role
        self.state = machine.State()
        self._launch_one = launch
        self._on_down = on_down
        self.rules = self.world.rules(sends=role == "master")
        self._over = False
        self._holder: Process | None = None  # the last one that was seen, and what it had announced
        self._unwanted: Unwanted | None = None
        self._replacing = False
        self._beats = 0
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._turn()

    def stop(self) -> None:
        """Watch no more: who watches is asked to end."""
        self._over = True
        cancel(self._timer)

    def wake(self) -> None:
        """Look now."""
        cancel(self._timer)
        self._turn()

    def notice_first_sign(self, partner: Process) -> None:
        """A starting partner shows progress: a watcher that waits for it sees that within milliseconds."""
        if self.state.phase is Phase.STARTING and self.state.partner == partner.identity:
            self.world.clock.after(self.vm.rng.random() * STARTING_LOOK_S, self.owner, self.wake)

    def died(self, process: Process) -> None:
        """The kernel says that ``process`` is dead."""
        if process.identity == self.state.partner:
            self._feed(machine.Died(process.identity))

    def heard_from(self, partner: Process) -> None:
        """A beat came from ``partner``."""
        if partner.identity != self.state.partner:
            self._look_for_holder()
        self._feed(machine.Answered(partner.identity))

    def _turn(self) -> None:
        self._timer = self.world.clock.after(self.world.setup.turn_s, self.owner, self._turn)
        self._look_for_holder()
        partner = self.vm.find(self.state.partner)
        self._feed(machine.Tick(partner.letter, partner.progress) if partner is not None else machine.Tick())

    def _look_for_holder(self) -> None:
        if self._replacing:
            return
        holder = self.vm.holder(self.role)
        self._holder = holder or self._holder
        if holder is not None and holder.identity != self.state.partner:
            settled = self.world.clock.now_s - holder.started_s > self.rules.start_deadline_s
            self._feed(machine.Seen(holder.identity, settled))

    def _feed(self, event: machine.Event) -> None:
        if self._over:
            return
        before, wanted, now_s = self.state, self.vm.may_start(self.role), self.world.clock.now_s
        self.state, actions = self.world.machines.pair(before, event, now_s, self.rules, wanted=wanted)
        self.world.ledger.check_machine(self, before, event, wanted, actions)
        if not wanted and before.partner is not None:
            self._unwanted = Unwanted(before.partner, now_s)
        for action in actions:
            match action:
                case machine.Beat(partner):
                    self._beat(partner)
                case machine.Clear(partner, cause):
                    self._replacing = True
                    self._clear(partner, cause)
                case machine.Launch(cause):
                    self.world.ledger.check_decision(self, self.role)
                    self._replacing = True
                    self.world.clock.after(delays.LOCAL_S, self.owner, self._launch, cause)

    # --- what the machine asks for ---------------------------------------------------------------------------

    def _beat(self, identity: Identity) -> None:
        """Ask the partner's threads; only a slave does."""
        if self._beats >= BEATS_AT_ONCE:
            return
        self._beats += 1
        partner = self.vm.find(identity)
        listens = partner is not None and self.vm.port.listener is partner
        if partner is not None and listens and partner.answers and not self.vm.paused:
            self.world.clock.after(delays.LOCAL_S, partner, partner.heard_from_slave, self.owner)
            answer: machine.Event = machine.Answered(identity)
            delay_s = 2 * delays.LOCAL_S
        else:
            answer = machine.Missed(identity)
            delay_s = self.rules.timeout_s if listens else delays.LOCAL_S
        until_s = self.world.clock.now_s + self.rules.timeout_s
        self.world.clock.after(delay_s, self.owner, self._beat_ended, identity, answer, until_s)

    def _beat_ended(self, identity: Identity, answer: machine.Event, until_s: float) -> None:
        """Take the answer; one that we were too late to read counts as missed."""
        self._beats -= 1
        if self.world.clock.now_s > until_s:
            answer = machine.Missed(identity)
        self._feed(answer)

    def _clear(self, identity: Identity, cause: Cause) -> None:
        victim = self.vm.find(identity)
        self.world.note(f"{self.vm.name}: {self.owner.kind} replaces {self.role} {identity.pid}: {cause.value}")
        if victim is None:
            self._cleared(identity, None)
            return
        self.world.ledger.check_verdict(self, victim, cause)
        self.vm.kill(victim, f"killed by the {self.owner.kind}: {cause.value}")
        self.world.clock.after(
            delays.around(delays.RESET_S, self.vm.rng), self.owner, self._cleared, identity, victim
        )

    def _cleared(self, identity: Identity, victim: Process | None) -> None:
        self._on_down(victim if victim is not None else self._known(identity))
        successor = self.vm.holder(self.role)
        planned = self._unwanted is not None and self._unwanted.explains(identity, self.world.clock.now_s)
        wanted = self.vm.may_start(self.role)
        paid = is_paid(succeeded=successor is not None, wanted=wanted, planned=planned)
        wait_s = self.vm.withdraw(self.role) if paid else 0.0
        self._replaced(machine.Seen(successor.identity) if successor is not None else machine.Cleared(wait_s))

    def _known(self, identity: Identity) -> Process | None:
        """Return the dead ``identity``, which was seen when it lived."""
        return self._holder if self._holder is not None and self._holder.identity == identity else None

    def _launch(self, cause: Cause) -> None:
        successor = self.vm.holder(self.role)
        if successor is None:
            self.world.ledger.check_launch(self, self.role)
            self._holder = successor = self._launch_one(cause)
            self.world.note(f"{self.vm.name}: {self.owner.kind} launches {self.role} {successor.identity.pid}")
        self._replaced(machine.Seen(successor.identity))

    def _replaced(self, event: machine.Event) -> None:
        self._replacing = False
        self._feed(event)
        if self.state.phase is Phase.WAITING:
            return
        cancel(self._timer)
        self._timer = self.world.clock.after(0.0, self.owner, self._turn)
