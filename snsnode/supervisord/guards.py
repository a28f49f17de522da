"""supervisord's eyes and hands for the judge: it looks at the pair, and ends what the judge says.

Called by ``roles`` on each turn of supervisord's loop, for the slave's program. What supervisord may do is in
``guard.table``: its patience is the longest, because master, slave and spare act first. It launches no master.
"""

import time

from supervisor.loggers import Logger

from snsnode.guard.judge import Action, Memory, judge
from snsnode.guard.view import Me, Place, View
from snsnode.node import budget, ending, intent, places
from snsnode.node.config import PARTNERS
from snsnode.node.ending import Outcome
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify
from snsnode.observe.events import Down
from snsnode.observe.journal import Journal
from snsnode.supervisord.settings import Settings


class PairGuard:
    """What supervisord remembers of one pair."""

    def __init__(self, vm_dir: VmDir, logger: Logger) -> None:
        self._vm_dir = vm_dir
        self._logger = logger
        self._memory = Memory()
        self._settings = Settings(vm_dir)

    def look(self, *, child: int, stopping: bool, waiting: bool) -> Action | None:
        """Look at the pair, end what the judge says, and return the launch of a slave that it wants; None: none.

        ``child`` is the pid of the slave that this supervisord forked itself, 0 without one. ``stopping``: an
        operator's stop of the slave is under way. ``waiting``: this supervisord waits before a launch.
        """
        view = self._view(child, stopping, waiting)
        self._memory, actions = judge(self._memory, view, Me.SUPERVISORD, time.monotonic(), self._settings.times())
        launch = None
        for action in actions:
            if action.victim is None:
                launch = action
            else:
                self._end(action.place, action.victim, action.cause)
        return launch

    def _view(self, child: int, stopping: bool, waiting: bool) -> View:
        vm_dir = self._vm_dir
        # In this order: a spare that is sent in takes the master's lock before it lets go of its own.
        spare = places.look(vm_dir, "spare")
        master = places.look(vm_dir, "master")
        slave = places.look(vm_dir, "slave", counter=True)
        born = _identify(child) if child and slave.identity is None else None
        if child and slave.identity is None:
            slave = places.Seen(taken=True)
        wanted = {role for role in PARTNERS if intent.may_start(vm_dir, role)} - ({"slave"} if stopping else set())
        leaving = {role for role in PARTNERS if intent.must_not_run(vm_dir, role)}
        waits = not waiting and budget.is_waiting(vm_dir)
        return View(slave, master, spare, frozenset(wanted), frozenset(leaving), waits, born=born)

    def _end(self, place: Place, victim: Identity, cause: str) -> None:
        outcome = ending.kill(victim)
        if outcome is not Outcome.SIGNALLED:
            if outcome is not Outcome.GONE:
                self._logger.error(f"snsnode: cannot end the {place.value} (pid {victim.pid}): it {outcome.value}")
            return
        self._logger.warn(f"snsnode: ended the {place.value} (pid {victim.pid}): {cause}")
        if place is Place.SLAVE:
            Journal(self._vm_dir.journal, self._vm_dir.path.name, "supervisord").write(
                Down(of="slave", cause=cause, partner_pid=victim.pid)
            )


def _identify(pid: int) -> Identity | None:
    try:
        return identify(pid)
    except OSError:
        return None
