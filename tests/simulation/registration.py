"""A master's line to one router: what snsnode/master/registration.py does."""

from typing import TYPE_CHECKING, Any

from snsnode.base.backoff import Backoff
from snsnode.base.errors import SnsError
from snsnode.base.ids import Epoch, VmName
from snsnode.router.table import Server, ServerState
from tests.simulation import delays
from tests.simulation.clock import Timer, cancel

if TYPE_CHECKING:
    from tests.simulation.master import Master
    from tests.simulation.router import Site

RETRY = Backoff(first_s=0.02, max_s=0.5)  # snsnode/pair/routers.py
TIMEOUT_S = 1.0


class Registration:
    """Registers one master with one router, each interval, and at once when the line breaks."""

    def __init__(self, master: "Master", router: "Site") -> None:
        self._master = master
        self._router = router
        self._world = master.world
        self._attempt = 0
        self._timer: Timer | None = None
        self.state: ServerState | None = None  # what this router said last
        self._waits = False  # registered: it waits for the next interval, or for a break

    def register(self) -> None:
        """Register or renew now."""
        self._waits = False
        cancel(self._timer)
        info = self.info()

        def ended(reply: Any, error: SnsError | None) -> None:
            self._ended(info, reply, error)

        self._world.network.call(self._master, self._router.port, "register", info, TIMEOUT_S, ended)

    def router_died(self) -> None:
        """The line breaks: from a killed process at once."""
        if self._waits:
            delay_s = delays.around(delays.RESET_S, self._master.vm.rng)
            self._world.clock.after(delay_s, self._master, self._broken)

    def doubt(self) -> None:
        """Something broke on the way: pings tell."""
        if self._waits:
            delay_s = self._master.vm.rng.uniform(*delays.PING_S)
            self._world.clock.after(delay_s, self._master, self._broken_if_unsound)

    def _broken_if_unsound(self) -> None:
        there, here, network = self._router.name, self._master.host, self._world.network
        if not (self._router.is_running and network.is_open(here, there) and network.is_open(there, here)):
            self._broken()

    def _broken(self) -> None:
        if self._waits:
            self.register()

    def _ended(self, sent: Server, reply: Any, error: SnsError | None) -> None:
        if error is not None:
            self.state = None
            delay_s = RETRY.around_s(self._attempt, self._master.vm.rng.random())
            self._attempt += 1
            self._timer = self._world.clock.after(delay_s, self._master, self.register)
            return
        self._attempt = 0
        accepted, epoch, state, highest_claim, claim = reply
        if accepted:
            self.state = state
            self._take_claim(highest_claim, claim)
            self._wait()
        elif self._master.leaving.ending:
            self._wait()
        else:
            self._master.raise_epoch(epoch, lambda: self._followed(sent))

    def news(self) -> None:
        """Tell this router at once what another one granted."""
        if self._waits:
            self.register()

    def _take_claim(self, highest: int, granted: int) -> None:
        master = self._master
        master.highest_claim = max(master.highest_claim, highest)
        if master.claim < granted:
            master.claim = granted
            for other in master.registrations:
                if other is not self:
                    other.news()

    def _followed(self, sent: Server) -> None:
        if self._master.epoch == sent.epoch:
            self._wait()
        else:
            self.register()

    def _wait(self) -> None:
        self._waits = True
        self._timer = self._world.clock.after(self._world.setup.interval_s, self._master, self.register)

    def info(self) -> Server:
        """Return what the master registers with."""
        master = self._master
        return Server(
            vm=VmName(master.vm.name),
            address=master.vm.name,
            port=1,
            epoch=Epoch(master.epoch),
            leaving=master.leaving.on,
            clients=len(master.links),
            logins=master.logins,
            claim=master.claim,
        )
