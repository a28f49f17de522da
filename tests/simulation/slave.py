"""A slave: watches its master, replaces it from the spare or cold, reports its death to the routers."""

from typing import TYPE_CHECKING, Any

from snsnode.base.errors import SnsError
from snsnode.guard.machine import Cause
from snsnode.pair.role import TAKE_EVERY_S
from snsnode.pair.routers import RETRY, TIMEOUT_S
from snsnode.slave.run import LOCK_WAIT_S
from tests.simulation import delays
from tests.simulation.spare import SpareKeeper
from tests.simulation.vm import VM, Process
from tests.simulation.watching import Watch

if TYPE_CHECKING:
    from tests.simulation.router import Site


class Slave(Process):
    """One slave of a VM; it holds the role once it has started."""

    def __init__(self, vm: VM) -> None:
        super().__init__(vm, "slave")
        self.watch = Watch(self, "master", self._launch_master, self._on_down)
        self._spares = SpareKeeper(self)
        self._crash: tuple[int] | None = None  # of the epoch that died; a new object for each death
        self._lock_until_s = 0.0
        self.clock.after(delays.around(delays.SLAVE_STARTS_S, vm.rng), self, self._take_role)

    def _take_role(self) -> None:
        if self._lock_until_s == 0.0:
            self._lock_until_s = self.clock.now_s + LOCK_WAIT_S
        if self.vm.holder("slave") is not None:
            if self.clock.now_s >= self._lock_until_s:
                self.vm.kill(self, "another one holds the role")
            else:
                self.clock.after(TAKE_EVERY_S, self, self._take_role)
            return
        self.vm.locks["slave"], self.role_s = self, self.clock.now_s
        if self.vm.stopped["slave"]:
            self.vm.kill(self, "it was stopped")
            return
        self.world.ledger.check_stopped(self, "slave")
        self.show_progress()
        self.watch.start()
        self._keep_spare()

    def _keep_spare(self) -> None:
        self._spares.look()
        self.clock.after(self.world.setup.turn_s, self, self._keep_spare)

    def _launch_master(self, cause: Cause) -> Process:
        return self._spares.send_in() or self.vm.spawn_master()

    def notice_death(self, other: Process) -> None:
        """Tell the watch."""
        self.watch.died(other)

    def notice_first_sign(self, master: Process) -> None:
        """The master that we wait for serves."""
        self.watch.notice_first_sign(master)

    # --- the routers -----------------------------------------------------------------------------------------

    def _on_down(self, victim: Process | None) -> None:
        epoch = getattr(victim, "epoch", 0)
        if not epoch:
            return
        self._crash = (epoch,)
        for router in self.world.routers:
            self._report(router, self._crash, 0)

    def _report(self, router: "Site", crash: tuple[int], attempt: int) -> None:
        """Tell ``router`` until it has heard, or until there is a later death."""
        if crash is not self._crash:
            return

        def ended(reply: Any, error: SnsError | None) -> None:
            if error is not None:
                delay_s = RETRY.around_s(attempt, self.vm.rng.random())
                self.clock.after(delay_s, self, self._report, router, crash, attempt + 1)

        self.world.network.call(self, router.port, "crash", (self.vm.name, crash[0]), TIMEOUT_S, ended)
