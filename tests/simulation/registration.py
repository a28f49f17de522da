"""A master's line to one router: the wires of snsnode/master/registration.py, around the same pure standing."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from snsnode.base.errors import SnsError
from snsnode.base.ids import Epoch, VmName
from snsnode.master import standing
from snsnode.master.registration import TELL_S
from snsnode.master.standing import Said, Then
from snsnode.pair.routers import RETRY, TIMEOUT_S
from snsnode.router.table import Server, ServerState
from tests.simulation import delays
from tests.simulation.clock import Timer, cancel

if TYPE_CHECKING:
    from tests.simulation.master import Master
    from tests.simulation.router import Site


class Registration:
    """Registers one master with one router, each interval, and at once when the line breaks or there is news."""

    def __init__(self, master: "Master", router: "Site") -> None:
        self._master = master
        self._router = router
        self._world = master.world
        self._attempt = 0
        self._timer: Timer | None = None
        self._has_news = False
        self._rests = False  # registered: it waits for the next interval, for news, or for a break

    def register(self) -> None:
        """Register or renew now."""
        self._rests = self._has_news = False
        cancel(self._timer)
        sent = self.info()
        self._call(sent, TIMEOUT_S, lambda reply, error: self._ended(sent, reply, error))

    def news(self) -> None:
        """There is something to tell this router: now, or as soon as what is under way has ended."""
        self._has_news = True
        if self._rests:
            self.register()

    def router_died(self) -> None:
        """The line breaks: from a killed process at once."""
        if self._rests:
            delay_s = delays.around(delays.RESET_S, self._master.vm.rng)
            self._world.clock.after(delay_s, self._master, self._broken)

    def doubt(self) -> None:
        """Something broke on the way: pings tell."""
        if self._rests:
            delay_s = self._master.vm.rng.uniform(*delays.PING_S)
            self._world.clock.after(delay_s, self._master, self._broken_if_unsound)

    def _broken_if_unsound(self) -> None:
        there, here, network = self._router.name, self._master.host, self._world.network
        if not (self._router.is_running and network.is_open(here, there) and network.is_open(there, here)):
            self._broken()

    def _broken(self) -> None:
        if self._rests:
            self.register()

    def tell(self, told: Callable[[bool], None]) -> None:
        """Register once more, beside the line; ``told`` hears whether the router took it."""

        def ended(reply: Any, error: SnsError | None) -> None:
            if error is not None:
                self._unheard()
                self.news()
            elif reply[0]:
                self._take(reply)
            told(error is None and reply[0])

        self._call(self.info(), TELL_S, ended)

    def _call(self, sent: Server, timeout_s: float, ended: Callable[[Any, SnsError | None], None]) -> None:
        self._world.network.call(self._master, self._router.port, "register", sent, timeout_s, ended)

    def _ended(self, sent: Server, reply: Any, error: SnsError | None) -> None:
        master = self._master
        if error is not None:
            self._unheard()
            delay_s = RETRY.around_s(self._attempt, master.vm.rng.random())
            self._attempt += 1
            self._timer = self._world.clock.after(delay_s, master, self.register)
            return
        self._attempt = 0
        accepted, known, *_ = reply
        if accepted:
            self._take(reply)
            self._go_on(Then.REST)
        elif self._world.machines.after_refusal(master.standing, Epoch(master.epoch), known) is Then.RISE:
            master.raise_epoch(known, lambda: self._go_on(standing.after_rise(sent.epoch, Epoch(master.epoch))))
        else:
            self._go_on(standing.after_rise(sent.epoch, Epoch(master.epoch)))

    def _unheard(self) -> None:
        self._master.standing = self._master.standing.unheard(self._router.name)

    def _take(self, reply: Any) -> None:
        _, _, state, highest_claim, claim = reply
        master = self._master
        said = Said(state is ServerState.STANDBY, highest_claim, claim)
        master.standing, is_news = self._world.machines.take_said(master.standing, self._router.name, said)
        if is_news:
            for other in master.registrations:
                if other is not self:
                    other.news()

    def _go_on(self, then: Then) -> None:
        if then is Then.AGAIN or self._has_news:
            self.register()
            return
        self._rests = True
        self._timer = self._world.clock.after(self._world.times.interval_s, self._master, self.register)

    def info(self) -> Server:
        """Return what the master registers with."""
        master = self._master
        return Server(
            vm=VmName(master.vm.name),
            address=master.vm.name,
            port=1,
            epoch=Epoch(master.epoch),
            leaving=master.standing.leaving,
            clients=len(master.links),
            logins=master.logins,
            claim=master.standing.claim,
        )


def tell_all(lines: Sequence[Registration], told: Callable[[int], None]) -> None:
    """Register with every router now; ``told`` hears how many took it, when all have answered or are given up."""
    took: list[bool] = []

    def one(taken: bool) -> None:
        took.append(taken)
        if len(took) == len(lines):
            told(sum(took))

    for line in lines:
        line.tell(one)
