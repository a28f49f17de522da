"""How a master's clients leave it, at a drain and before a planned end: what snsnode/master/leaving.py does."""

from typing import TYPE_CHECKING

from snsnode.router.table import ServerState

if TYPE_CHECKING:
    from tests.simulation.master import Master

LOOK_EVERY_S = 0.5  # at the operator's mark
TELL_EVERY_S = 1.0
MOVE_WITHIN_S = 3.0
MOVE_LOOK_S = 0.02
DRAIN_S = 0.1  # for what is in flight


class Leaving:
    """Moves the clients of one master away, while the operator's mark stands, or for good."""

    def __init__(self, master: "Master") -> None:
        self._master = master
        self._clock = master.clock
        self._told_s: float | None = None
        self._until_s: float | None = None  # it ends then at the latest
        self.on = master.vm.drained
        self.ending = False
        self.over = False  # no new logins and timelines

    @property
    def may_move(self) -> bool:
        """Tell whether a router has another server for our clients."""
        return self.on and any(line.state is ServerState.STANDBY for line in self._master.registrations)

    def look(self) -> None:
        """Do what the mark says, for ever."""
        on = self._master.vm.drained or self.ending
        if on != self.on:
            self.on = on
            self._tell_routers()
        self._tell_clients()
        self._clock.after(LOOK_EVERY_S, self._master, self.look)

    def end(self) -> None:
        """Leave for good: end when the clients have moved, or cannot, and at ``MOVE_WITHIN_S``."""
        if not self.ending:
            self.on = self.ending = True
            self._until_s = self._clock.now_s + MOVE_WITHIN_S
            self._tell_routers()
            self._clock.after(MOVE_LOOK_S, self._master, self._move)

    def _move(self) -> None:
        master = self._master
        assert self._until_s is not None
        if master.links and self.may_move and self._clock.now_s < self._until_s:
            self._tell_clients()
            self._clock.after(MOVE_LOOK_S, master, self._move)
            return
        self.over = True
        for link in tuple(master.links):
            self._clock.after(master.vm.rng.random() * DRAIN_S, master, link.close_by_server)
        self._clock.after(DRAIN_S * 2, master, master.vm.kill, master, "drained")

    def _tell_routers(self) -> None:
        for registration in self._master.registrations:
            registration.register()

    def _tell_clients(self) -> None:
        now_s = self._clock.now_s
        if not self.may_move:
            if self._told_s is not None:
                self._announce(False)
            self._told_s = None
        elif self._told_s is None or now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._announce(True)

    def _announce(self, leaving: bool) -> None:
        for link in tuple(self._master.links):
            link.tell(leaving)
