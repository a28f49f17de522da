"""How a master's clients leave it: the hands of snsnode/master/leaving.py and of the drain, by the same rules."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from snsnode.master import departure
from snsnode.master.departure import LOOK_EVERY_S, MOVE_LOOK_S, End, Notice
from snsnode.master.run import GRACE_S
from snsnode.social.service import DRAIN_WITHIN_S
from tests.simulation.registration import tell_all

if TYPE_CHECKING:
    from tests.simulation.master import Master


class Leaving:
    """Moves the clients of one master away, while the operator's mark stands, or for good."""

    def __init__(self, master: "Master") -> None:
        self._master = master
        self._clock = master.clock
        self._notice = Notice()
        self._end: End | None = None
        self.over = False  # no new logins and timelines

    @property
    def begun(self) -> bool:
        """Tell whether it is ending, and no probe finds it healthy."""
        return self._end is not None

    def look(self) -> None:
        """Do what the mark says, for ever."""
        master = self._master
        if self._end is not None:
            return
        known = master.standing
        turn = departure.turn(drained=master.vm.drained, ending=known.ending, leaving=known.leaving)
        if turn is None:
            self._looked()
            return
        master.standing = known.left() if turn else known.stayed()
        tell_all(master.registrations, lambda _: self._looked())

    def _looked(self) -> None:
        self._tell_clients()
        self._clock.after(LOOK_EVERY_S, self._master, self.look)

    def end(self) -> None:
        """Leave for good, and end when the clients have moved, or cannot."""
        if self._end is None:
            self._end = End.at(self._clock.now_s)
            self._ask()

    def _ask(self) -> None:
        self._master.standing = self._master.standing.left(ending=True)
        tell_all(self._master.registrations, lambda _: self._move())

    def _move(self) -> None:
        master, now_s = self._master, self._clock.now_s
        assert self._end is not None
        if not self._end.waits(clients=len(master.links), may_move=master.standing.may_move, now_s=now_s):
            self._drain()
            return
        self._tell_clients()
        self._clock.after(MOVE_LOOK_S, master, self._moved_on)

    def _moved_on(self) -> None:
        assert self._end is not None
        asked = self._end.ask(self._clock.now_s)
        if asked is None:
            self._move()
        else:
            self._end = asked
            self._ask()

    def _drain(self) -> None:
        """Answer what is in flight, end the streams, and be gone when the rest is answered."""
        self.over = True
        self._when_answered(self._clock.now_s + DRAIN_WITHIN_S, self._close)

    def _close(self) -> None:
        for link in tuple(self._master.links):
            link.close_by_server()
        self._clock.after(MOVE_LOOK_S, self._master, self._stop)

    def _stop(self) -> None:
        self._when_answered(self._clock.now_s + GRACE_S, self._gone)

    def _gone(self) -> None:
        self._master.vm.kill(self._master, "drained")

    def _when_answered(self, until_s: float, then: Callable[[], None]) -> None:
        if self._master.calls and self._clock.now_s < until_s:
            self._clock.after(MOVE_LOOK_S, self._master, self._when_answered, until_s, then)
        else:
            then()

    def _tell_clients(self) -> None:
        may_move = self._master.standing.may_move
        self._notice, leaving = self._notice.tell(may_move=may_move, now_s=self._clock.now_s)
        if leaving is not None:
            for link in tuple(self._master.links):
                link.tell(leaving)
