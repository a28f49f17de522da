"""The hands of a spare, and of the slave that keeps it: what the shipped judge says is carried out.

See snsnode/master/spare.py and snsnode/slave/spare.py, which do the same in the product.
"""

from typing import TYPE_CHECKING

from snsnode.guard.judge import Action, Memory
from snsnode.guard.plan import Plan, follow
from snsnode.guard.table import Act
from snsnode.guard.times import TICK_S
from snsnode.guard.view import Me, View
from snsnode.master.spare import TAKEN_LOOK_S
from snsnode.slave.keeping import Keeping, view_of
from tests.simulation import delays
from tests.simulation.clock import Timer, cancel
from tests.simulation.vm import Process

if TYPE_CHECKING:
    from tests.simulation.master import Master
    from tests.simulation.slave import Slave


class Standby:
    """One spare's eyes and hands, beside the slave that launched it, and without it."""

    def __init__(self, spare: "Master") -> None:
        self._spare = spare
        self._vm = spare.vm
        self._world = spare.world
        parent = spare.parent
        self._ours = parent if parent is not None and self._vm.holder("slave") is parent else None
        self._alone = parent is None or not parent.alive  # its line has ended
        self._answers: bool | None = None
        self._memory = Memory()
        self._plan: Plan | None = None
        self._child: Process | None = None
        self._timer: Timer | None = None
        self._look()
        self._ask_later()

    def notice_death(self, other: Process) -> None:
        """The line of our slave ends with it; of a master's death the kernel tells one that is alone."""
        if other is self._spare.parent:
            self._alone = True
            self._look()
        elif self._alone and other.kind == "master":
            self._look()

    # --- what it sees ----------------------------------------------------------------------------------------

    def _view(self) -> View:
        vm, child = self._vm, self._child
        holder = vm.holder("slave")
        born = child.identity if child is not None and child.alive and child is not holder else None
        return View(
            slave=vm.seen("slave", answers=self._answers, taken=born is not None),
            master=vm.seen("master"),
            wanted=vm.wanted,
            leaving=vm.leaving,
            waits=self._plan is None and vm.is_waiting,
            ours=self._ours.identity if self._ours is not None else None,
            alone=self._alone,
            born=born,
        )

    def _ask_later(self) -> None:
        if self._ours is not None and not self._alone and self._spare.ready:
            self._world.clock.after(self._world.times.interval_s, self._spare, self._ask)

    def _ask(self) -> None:
        slave = self._ours
        assert slave is not None
        serves = slave.alive and not slave.frozen
        delay_s = 2 * delays.LOCAL_S if serves or not slave.alive else self._world.times.timeout_s
        self._world.clock.after(delay_s, self._spare, self._asked, serves)

    def _asked(self, answers: bool) -> None:
        self._answers = answers
        self._look()
        self._ask_later()

    # --- what it does ----------------------------------------------------------------------------------------

    def _look(self) -> None:
        cancel(self._timer)
        if not self._spare.ready:
            return
        view = self._view()
        self._memory, actions = self._vm.judged(self._memory, view, Me.SPARE)
        for action in actions:
            if action.act is Act.END:
                self._vm.end(action, "spare")
            elif action.act is Act.LEAVE:
                self._vm.kill(self._spare, action.cause)
        wanted = next((a for a in actions if a.act in (Act.RESCUE, Act.LAUNCH_SLAVE)), None)
        self._plan, is_due = follow(self._plan, wanted, self._world.clock.now_s, self._withdraw)
        if wanted is not None and is_due:
            self._world.note(f"{self._vm.name}: the spare {self._spare.identity.pid}: {wanted.act.value}")
            if wanted.act is Act.RESCUE:
                self._spare.go()
                return
            self._child = self._vm.spawn_slave()
        if self._alone:
            hurry = view.master.taken and view.master.identity is None
            self._timer = self._world.clock.after(TAKEN_LOOK_S if hurry else TICK_S, self._spare, self._look)

    def _withdraw(self, action: Action) -> float:
        return self._vm.withdraw(action.place.value)


class SpareKeeper:
    """A slave's eyes and hands for its one spare."""

    def __init__(self, slave: "Slave") -> None:
        self._slave = slave
        self._vm = slave.vm
        self._memory = Memory()
        self._keeping = Keeping()
        self._child: Master | None = None
        self._sent: Master | None = None

    def send_in(self) -> "Master | None":
        """Tell the ready spare to become the master; None where there is none."""
        child = self._child
        if child is None or self._vm.holder("spare") is not child:
            return None
        self._child, self._sent = None, child
        self._keeping = self._keeping.sent_in(self._vm.world.clock.now_s)
        self._vm.world.clock.after(0.0, child, child.go)
        return child

    def look(self) -> None:
        """End what stands in the way, and keep a spare beside a serving master."""
        vm, now_s, child = self._vm, self._vm.world.clock.now_s, self._child
        view = self._view()
        self._memory, actions = vm.judged(self._memory, view, Me.SLAVE)
        for action in actions:
            vm.end(action, "slave")
        if child is not None and not child.alive:
            self._child = None
            self._keeping = self._keeping.ended(now_s)
        elif child is not None and view.spare.identity == child.identity:
            self._keeping = self._keeping.stood_by()
        if self._keeping.wants(view, now_s):
            self._child = vm.spawn_master(spare=True, parent=self._slave)

    def _view(self) -> View:
        vm, child, sent = self._vm, self._child, self._sent
        master = vm.seen("master")
        if sent is not None and (master.identity is not None or not sent.alive):
            self._sent = sent = None
        return view_of(
            master,
            vm.seen("spare"),
            vm.wanted,
            child=child.identity if child is not None else None,
            child_lives=child is not None and child.alive,
            sent=sent.identity if sent is not None else None,
            dismissed=None,
        )
