"""A warm spare on guard: what snsnode/master/spare.py and the keeper in snsnode/slave/spare.py do."""

from typing import TYPE_CHECKING

from tests.simulation.vm import Process

if TYPE_CHECKING:
    from tests.simulation.master import Master
    from tests.simulation.slave import Slave

LOOK_EVERY_S = 0.1
SETTLE_S = 0.3
RETRY_S = 0.5


class Guard:
    """The spare's eyes: it replaces a dead pair, launches a missing slave, ends one that hangs."""

    def __init__(self, spare: "Master") -> None:
        self._spare = spare
        self._vm = spare.vm
        self._world = spare.world
        self._ours = spare.vm.holder("slave")
        self._answered_s = self._world.clock.now_s
        self._alone_since_s: float | None = None
        self._rescues = False
        if self._ours is None:
            self._stand_alone()
        else:
            self._ask_slave()

    def notice_death(self, other: Process) -> None:
        """The line of our slave ends with it."""
        if other is self._ours:
            self._stand_alone()

    def _ask_slave(self) -> None:
        slave, now_s, setup = self._ours, self._world.clock.now_s, self._world.setup
        if not self._spare.ready or slave is None or not slave.alive:
            return
        late = now_s - self._answered_s > 0 and self._late(now_s)
        if late or slave.answers or not self._vm.may_start("slave"):
            self._answered_s = now_s
        elif now_s - self._answered_s > setup.silence_s + setup.interval_s:
            self._world.ledger.check_slave_ended(slave)
            self._vm.kill(slave, "ended by the spare: it does not answer")
            return
        self._looked_s = now_s
        self._world.clock.after(setup.interval_s, self._spare, self._ask_slave)

    def _late(self, now_s: float) -> bool:
        looked_s = getattr(self, "_looked_s", now_s)
        return bool(now_s - looked_s > self._world.setup.interval_s + 0.5)

    def _stand_alone(self) -> None:
        if self._alone_since_s is None:
            self._alone_since_s = self._world.clock.now_s
            self._look()

    def _look(self) -> None:
        vm, clock = self._vm, self._world.clock
        if not self._spare.ready or self._rescues or self._alone_since_s is None:
            return
        slave = vm.holder("slave")
        if vm.stopped["master"] or vm.stopped["slave"] or (slave is not None and slave is not self._ours):
            vm.kill(self._spare, "no longer needed")
            return
        if vm.holder("master") is None:
            self._rescues = True
            clock.after(vm.withdraw("master"), self._spare, self._rescue)
            return
        if clock.now_s - self._alone_since_s > self._world.setup.silence_s:
            self._alone_since_s = clock.now_s
            clock.after(vm.withdraw("slave"), self._spare, self._launch_slave)
        clock.after(LOOK_EVERY_S, self._spare, self._look)

    def _rescue(self) -> None:
        self._world.note(f"{self._vm.name}: the spare {self._spare.identity.pid} rescues a dead pair")
        self._spare.go()

    def _launch_slave(self) -> None:
        if self._vm.holder("slave") is None and self._vm.may_start("slave"):
            self._vm.spawn_slave()


class SpareKeeper:
    """A slave's one spare."""

    def __init__(self, slave: "Slave") -> None:
        self._slave = slave
        self._vm = slave.vm
        self._child: Master | None = None
        self._not_before_s = 0.0

    def send_in(self) -> "Master | None":
        """Tell the ready spare to become the master; None where there is none, or it hangs."""
        child = self._child
        if child is None or not child.alive or not child.ready:
            return None
        self._child = None
        self._not_before_s = self._vm.world.clock.now_s + SETTLE_S
        self._vm.world.clock.after(0.0, child, child.go)
        return child

    def look(self) -> None:
        """Keep a spare beside a serving master."""
        now_s, vm = self._vm.world.clock.now_s, self._vm
        if self._child is not None and not self._child.alive:
            self._child = None
            self._not_before_s = max(self._not_before_s, now_s + RETRY_S)
        wanted = now_s >= self._not_before_s and vm.may_start("master") and vm.holder("master") is not None
        if self._child is None and wanted:
            self._child = vm.spawn_master(spare=True)
