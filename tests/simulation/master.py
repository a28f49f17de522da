"""A master, or a spare one: takes its role, claims an epoch, serves, pushes posts, registers, watches."""

from collections.abc import Callable
from functools import partial
from typing import Any

from snsnode.base.errors import Fenced, Full, SessionLost, SnsError, StoreFailed, Unavailable
from snsnode.base.ids import Epoch
from snsnode.guard.machine import Cause
from snsnode.master.incarnation import CLAIM_RETRY_S
from snsnode.master.run import LOCK_WAIT_S
from snsnode.master.standing import Standing, risen
from snsnode.pair.role import TAKE_EVERY_S
from snsnode.social.hub import TICK_S
from snsnode.social.sessions import LEASE_S, SESSIONS_MAX
from snsnode.store.postgresql_session import COMMAND_S
from tests.simulation import delays
from tests.simulation.leaving import Leaving
from tests.simulation.link import Link, Stream
from tests.simulation.network import Call
from tests.simulation.registration import Registration, tell_all
from tests.simulation.spare import Standby
from tests.simulation.store import Author
from tests.simulation.vm import VM, Lock, Process
from tests.simulation.watching import Watch

COST_S = {
    "login": delays.LOGIN_S,
    "enter": delays.ENTER_S,
    "post": delays.CALL_S,
    "probe": delays.CALL_S,
    "who": delays.CALL_S,
}


class Master(Process):
    """One incarnation. ``epoch`` is 0 until it was claimed."""

    def __init__(self, vm: VM, *, spare: bool, parent: Process | None = None) -> None:
        super().__init__(vm, "spare" if spare else "master")
        self.parent = parent  # a spare's slave
        self.epoch = 0
        self.standing = Standing().left() if vm.drained else Standing()
        self.logins = 0
        self.serving = False
        self.leaving = Leaving(self)
        self.sessions: dict[str, int] = {}  # user → a number that changes with each use
        self.links: dict[Link, None] = {}
        self.streams: dict[Stream, None] = {}
        self.watch = Watch(self, "slave", self._launch_slave, lambda _: None)
        self.registrations = [Registration(self, router) for router in self.world.routers]
        self._stamp = 0
        self._lock_until_s = 0.0
        self.ready = False  # a spare that stands by
        boot_s = delays.around(delays.COLD_SERVES_S - delays.SPARE_SERVES_S, vm.rng)
        self.clock.after(boot_s, self, self._stand_by if spare else self.take_role)

    # --- becoming the master ---------------------------------------------------------------------------------

    def _stand_by(self) -> None:
        if self._take("spare", self._stand_by):
            self._lock_until_s = 0.0
            self.ready = True
            self.standby = Standby(self)

    def go(self) -> None:
        """Become the master: this spare is needed."""
        self.kind = "master"
        self.ready = False
        self.take_role()

    def take_role(self) -> None:
        """Wait for the role's lock a while, take it, and rise above every epoch before."""
        if not self._take("master", self.take_role):
            return
        self.role_s = self.clock.now_s
        if self.vm.locks["spare"] is self:
            self.vm.locks["spare"] = None
        if self.vm.stopped["master"]:
            self.vm.kill(self, "it was stopped")
            return
        serves_s = max(delays.around(delays.SPARE_SERVES_S, self.vm.rng) - delays.COMMIT_S, 0.0)
        self.clock.after(serves_s, self, self._become, self.vm.epoch + 1, self._serve)

    def _take(self, lock: Lock, again: Callable[[], None]) -> bool:
        """Take a lock; where another one holds it, try ``again`` a while, and then leave."""
        if self._lock_until_s == 0.0:
            self._lock_until_s = self.clock.now_s + LOCK_WAIT_S
        if self.vm.holder(lock) is None:
            self.vm.locks[lock] = self
            return True
        if self.clock.now_s >= self._lock_until_s:
            self.vm.kill(self, f"another one holds the lock of the {lock}")
        else:
            self.clock.after(TAKE_EVERY_S, self, again)
        return False

    def _become(self, at_least: int, then: Any) -> None:
        """Claim an epoch from the store, for as long as it takes."""

        def claim() -> int:
            return self.world.store.claim_epoch(self.vm.name, at_least)

        def claimed(epoch: int | None, error: SnsError | None) -> None:
            if epoch is None or error is not None:
                self.clock.after(CLAIM_RETRY_S, self, self._become, at_least, then)
                return
            self.world.ledger.check_epoch(self, epoch)
            self.vm.epoch = max(self.vm.epoch, epoch)
            self.epoch = epoch
            then()

        self.ask_store(claim, claimed)

    def raise_epoch(self, known: int, then: Any) -> None:
        """Rise above what a router knows."""
        at_least = risen(Epoch(self.epoch), Epoch(known))
        if at_least is not None:
            self._become(at_least, then)
        else:
            then()

    def _serve(self) -> None:
        self.world.ledger.check_serving(self)
        self.vm.port.listener = self.vm.master = self
        self.serving = True
        self.show_progress()
        for slave in self.vm.living("slave"):
            slave.notice_first_sign(self)
        self.world.note(f"{self.vm.name}: master {self.identity.pid} serves with epoch {self.epoch}")
        for registration in self.registrations:
            registration.register()
        self.watch.start()
        self.leaving.look()

    def terminate(self) -> None:
        """Drain, then end; a master that leaves watches nobody any more."""
        if self.serving:
            self.watch.stop()
            self.leaving.end()
        else:
            super().terminate()

    def take_over(self) -> None:
        """Become the available one: register with a claim above all that the routers know."""

        def heard(took: int) -> None:
            if took and not self.standing.leaving:
                self.standing = self.standing.claiming()
                tell_all(self.registrations, lambda _: None)

        if not self.standing.leaving:
            tell_all(self.registrations, heard)

    def died(self) -> None:
        """Reset every connection."""
        if self.vm.port.listener is self:
            self.vm.port.listener = self.vm.master = None
        self.serving = False
        self.end_calls(lambda: delays.around(delays.RESET_S, self.vm.rng))
        for link in tuple(self.links):
            link.server_died()

    # --- the slave -------------------------------------------------------------------------------------------

    def _launch_slave(self, cause: Cause) -> Process:
        return self.vm.spawn_slave()

    def heard_from_slave(self, slave: Process) -> None:
        """Pass a beat on to the watch."""
        if self.serving:
            self.watch.heard_from(slave)

    def notice_death(self, other: Process) -> None:
        """Tell the watch, or the guard of a spare."""
        if self.ready:
            self.standby.notice_death(other)
        elif self.serving:
            self.watch.died(other)

    # --- clients ---------------------------------------------------------------------------------------------

    def cost_s(self, call: Call) -> float:
        """Return what a call takes of the core."""
        return COST_S[call.method]

    def handle(self, call: Call) -> None:
        """Serve a client, or a router's probe."""
        match call.method:
            case "probe":
                call.reply(not self.leaving.begun)
            case "who":
                call.reply(self.registrations[0].info())
            case "login":
                self._login(call)
            case "enter":
                self._enter(call, *call.request)
            case _:
                self._post(call, *call.request)

    def _login(self, call: Call) -> None:
        username: str = call.request
        if self.leaving.over:
            call.refuse(Unavailable("this server leaves"))
        elif username not in self.sessions and len(self.sessions) >= SESSIONS_MAX:
            call.refuse(Full(f"this server has {SESSIONS_MAX} clients"))
        else:
            self._write(call, lambda: self, lambda _: self._use(username))

    def _use(self, username: str) -> None:
        self._stamp += 1
        self.logins += 1
        self.sessions[username] = self._stamp
        self.clock.after(LEASE_S, self, self.forget, username, self._stamp)

    def forget(self, username: str, stamp: int) -> None:
        """Drop a login that was not used since ``stamp`` and has no connection."""
        link = self.world.clients_by_name[username].link
        linked = link is not None and link.master is self and not link.closed
        if self.sessions.get(username) == stamp and not linked:
            del self.sessions[username]

    def _enter(self, call: Call, username: str, after: int | None, stream: Stream) -> None:
        if self.leaving.over:
            call.refuse(Unavailable("this server leaves"))
            return
        if username not in self.sessions or stream.closed:
            call.refuse(SessionLost("not logged in at this server"))
            return
        if not self._reaches_store():
            self.clock.after(COMMAND_S, self, call.refuse, StoreFailed("the store is away"))
            return
        stream.open(self, after)
        call.reply(None)

    def _post(self, call: Call, username: str, request_id: str, text: str) -> None:
        if username not in self.sessions:
            call.refuse(SessionLost("not logged in at this server"))
            return
        self._write(call, partial(self.world.commit_post, username, request_id, text), lambda _: None)

    def _write(self, call: Call, effect: Any, then: Any) -> None:
        writer = Author(self.vm.name, self.epoch)

        def commit() -> Any:
            self.world.store.check(writer)
            return effect()

        def done(value: Any, error: SnsError | None) -> None:
            if isinstance(error, Fenced):
                call.refuse(Unavailable("this server was replaced"))
                self.clock.after(0.01, self, self.vm.kill, self, "fenced")
            elif error is not None:
                call.refuse(error)
            else:
                then(value)
                call.reply(value)

        self.ask_store(commit, done)

    # --- the store -------------------------------------------------------------------------------------------

    def ask_store(self, effect: Any, done: Any) -> None:
        """Run ``effect`` at the store, once or never; ``done`` gets its value or the error."""
        network = self.world.network
        network.call(self, self.world.store_port, "store", effect, COMMAND_S, _told(done))

    def _reaches_store(self) -> bool:
        network, host = self.world.network, self.world.store_port.host
        return network.is_open(self.host, host) and network.is_open(host, self.host)

    def pump(self, stream: Stream) -> None:
        """Push what is new to one reader; where the store cannot be read, look again at the hub's next tick."""
        if not self.alive or stream.closed:
            return
        if self._reaches_store():
            stream.pump()
        else:
            self.clock.after(TICK_S, self, self.pump, stream)


def _told(done: Any) -> Any:
    def end(value: Any, error: SnsError | None) -> None:
        passing = error is None or isinstance(error, Fenced)
        done(value, error if passing else StoreFailed("outcome unknown"))

    return end
