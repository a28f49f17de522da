"""supervisord's eyes and hands in the simulated world: what snsnode/supervisord does, by the same judge."""

from typing import TYPE_CHECKING

from snsnode.guard.judge import Action, Memory
from snsnode.guard.plan import Plan, follow
from snsnode.guard.times import SUPERVISORD_TICK_S
from snsnode.guard.view import Me, View
from tests.simulation.clock import Actor

if TYPE_CHECKING:
    from tests.simulation.vm import VM, Process


class Supervisord(Actor):
    """One life of a VM's supervisord, from the power-on to the power's loss."""

    def __init__(self, vm: "VM") -> None:
        super().__init__(vm.name)
        self._vm = vm
        self._clock = vm.world.clock
        self._memory = Memory()
        self._plan: Plan | None = None
        self._child: Process | None = None  # the slave that it forked itself
        self._clock.after(vm.rng.random() * SUPERVISORD_TICK_S, self, self._turn)

    def launch(self) -> None:
        """Fork the slave."""
        self._child = self._vm.spawn_slave()

    def _turn(self) -> None:
        self._clock.after(SUPERVISORD_TICK_S, self, self._turn)
        vm, now_s = self._vm, self._clock.now_s
        self._memory, actions = vm.judged(self._memory, self._view(), Me.SUPERVISORD)
        wanted = None
        for action in actions:
            if action.victim is not None:
                vm.end(action, "supervisord")
            elif self._child is None:
                wanted = action
        self._plan, is_due = follow(self._plan, wanted, now_s, self._withdraw)
        if wanted is not None and is_due:
            vm.world.note(f"{vm.name}: supervisord launches a slave: {wanted.cause}")
            self.launch()

    def _view(self) -> View:
        vm = self._vm
        if self._child is not None and not self._child.alive:
            self._child = None
        child = self._child if vm.holder("slave") is None else None
        return View(
            vm.seen("slave", counter=True, taken=child is not None),
            vm.seen("master"),
            vm.seen("spare"),
            vm.wanted,
            vm.leaving,
            self._plan is None and vm.is_waiting,
            born=child.identity if child is not None else None,
        )

    def _withdraw(self, action: Action) -> float:
        return self._vm.withdraw(action.place.value)
