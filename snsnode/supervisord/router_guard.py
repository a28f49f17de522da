"""supervisord's eyes and hands for the router: it looks, and ends what the judge says; supervisord restarts it.

Called by ``roles`` on each turn of supervisord's loop, for the router's program: nothing here blocks. The budget
is the router's own: what a router that freezes again and again uses up is not the pair's, and once it is used up
the next end waits, ever longer.
"""

import random
import time

from supervisor.loggers import Logger

from snsnode.guard.judge import Action, Memory, judge
from snsnode.guard.router import ROUTER_TABLE
from snsnode.guard.view import Me, View
from snsnode.node import budget, ending, intent, places, progress
from snsnode.node.budget import Budget
from snsnode.node.ending import Outcome
from snsnode.node.paths import VmDir
from snsnode.node.process import identify, state_of
from snsnode.observe.events import Down
from snsnode.observe.journal import Journal
from snsnode.supervisord.settings import Settings


class RouterGuard:
    """What supervisord remembers of one VM's router."""

    def __init__(self, vm_dir: VmDir, logger: Logger) -> None:
        self._vm_dir = vm_dir
        self._logger = logger
        self._memory = Memory()
        self._settings = Settings(vm_dir)
        self._budget = Budget()
        self._allowed_s: float | None = None  # monotonic; when the end that was paid for may happen

    def look(self, *, child: int, stopping: bool) -> None:
        """Look at the router, and end it where the judge says so.

        ``child`` is the pid of the router that this supervisord forked itself, 0 without one. ``stopping``: an
        operator's stop is under way.
        """
        now_s = time.monotonic()
        view = self._view(child, stopping)
        self._memory, actions = judge(
            self._memory, view, Me.SUPERVISORD, now_s, self._settings.times(), ROUTER_TABLE
        )
        for action in actions:
            if self._may_end(now_s):
                self._end(action)

    def _view(self, child: int, stopping: bool) -> View:
        router = places.look(self._vm_dir, "router", counter=True)
        born = identify(child) if child and router.known and router.identity is None else None
        if born is not None and (count := progress.read_once(born)) is not None:
            # It came up, and could not write its pid file.
            router, born = places.Seen(born, True, state_of(born), count), None
        wanted = intent.may_start(self._vm_dir, "router") and not stopping
        return View(router=router, wanted=frozenset({"router"} if wanted else ()), born=born)

    def _may_end(self, now_s: float) -> bool:
        """Ask the router's budget; where it makes us wait, the judge says it again after the same patience."""
        if self._allowed_s is None:
            rule = self._settings.restart()
            self._budget, wait_s = budget.spend(self._budget, rule, "router", now_s, random.random())
            self._allowed_s = now_s + wait_s
        if now_s < self._allowed_s:
            wait_s = self._allowed_s - now_s
            self._logger.warn(f"snsnode: the router is stuck too often; it is ended in {wait_s:.0f} s or later")
            return False
        self._allowed_s = None
        return True

    def _end(self, action: Action) -> None:
        victim = action.victim
        assert victim is not None
        outcome = ending.kill(victim)
        if outcome is Outcome.SIGNALLED:
            self._logger.warn(f"snsnode: ended the router (pid {victim.pid}): {action.cause}")
            Journal(self._vm_dir.journal, self._vm_dir.path.name, "supervisord").write(
                Down(of="router", cause=action.cause, partner_pid=victim.pid)
            )
        elif outcome is not Outcome.GONE:
            self._logger.error(f"snsnode: cannot end the router (pid {victim.pid}): it {outcome.value}")
