"""The simulated world: VMs, routers, clients, one store, a network, a clock; and a run from a seed."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from snsnode.base.errors import SnsError
from snsnode.guard.machine import Rules
from snsnode.guard.times import SHIPPED, TICK_S, Times
from tests.simulation import delays
from tests.simulation.client import Client
from tests.simulation.clock import Clock
from tests.simulation.faults import Fault, Hands, draw
from tests.simulation.ledger import Ledger, Violation
from tests.simulation.link import Stream
from tests.simulation.machines import Machines
from tests.simulation.network import Call, Network, Port, Server
from tests.simulation.registration import Registration
from tests.simulation.router import Site
from tests.simulation.store import StoreModel
from tests.simulation.vm import RESTART, VM

if TYPE_CHECKING:
    from tests.simulation.master import Master

TRACE_MAX = 400
HINT_S = 0.0016  # from a commit until another process hears of it: SQLite's data version, polled
ROUTER_BACK_S = delays.COLD_SERVES_S
SETTLE_S = 30.0  # after the last fault, every call made then and later is answered
LAST_CALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run is: the same setup gives the same run."""

    seed: int = 0
    vms: int = 3
    clients: int = 12
    routers: int = 2
    seconds: float = 30.0  # while faults happen
    fault_every_s: float = 1.5
    only: tuple[str, ...] = ()  # these kinds of faults; none: all kinds
    think_s: float = 1.0  # between a client's posts
    selection: Literal["single", "spread"] = "single"
    interval_s: float = SHIPPED.interval_s
    timeout_s: float = SHIPPED.timeout_s
    silence_s: float = SHIPPED.silence_s
    turn_s: float = TICK_S + 0.0004  # between a watcher's looks: a tick, and what a busy machine adds
    warm_up_s: float = 3.0
    client_hosts: int = 4
    strict: bool = True  # the guard's invariants are checked after every step and look


class StoreServer(Server):
    """The store's machine. A group commit takes as long for many as for one, so nobody queues."""

    def cost_s(self, call: Call) -> float:
        """Return how long a commit takes."""
        return delays.around(delays.COMMIT_S, call.network.rng)

    def work(self, cost_s: float, job: Any, *args: Any) -> None:
        """Commit when the time has passed."""
        self.clock.after(cost_s, self, self.handle, job)

    def handle(self, call: Call) -> None:
        """Commit."""
        try:
            value = call.request()
        except SnsError as error:
            call.refuse(error)
        else:
            call.reply(value)


class World:
    """One cluster, from its power-on."""

    def __init__(self, setup: Setup, machines: Machines | None = None) -> None:
        self.setup = setup
        self.machines = machines or Machines()
        self.times = Times(setup.interval_s, setup.timeout_s, setup.silence_s, RESTART.backoff_max_s)
        self.clock = Clock()
        self.trace: deque[str] = deque(maxlen=TRACE_MAX)
        self.network = Network(self.clock, self.rng("network"))
        self.ledger = Ledger(self)
        self.healed_s: float | None = None
        self._pid = 0
        self.client_hosts = [f"clients{n}" for n in range(1, setup.client_hosts + 1)]
        self.router_hosts = [f"r{n}" for n in range(1, setup.routers + 1)]
        names = [f"c{n}" for n in range(1, setup.clients + 1)]
        self.store = StoreModel(_follows(names))
        self.readers: dict[str, dict[Stream, None]] = {name: {} for name in names}
        self.followers: dict[str, list[str]] = {name: [] for name in names}
        for name, followees in self.store.followees.items():
            for followee in followees:
                self.followers[followee].append(name)
        self.store_port = Port("store")
        self.network.calm.add("store")
        self.store_port.listener = StoreServer("store", self.clock)
        self.routers = [Site(self, name) for name in self.router_hosts]
        self.vms = {name: VM(self, name) for name in (f"vm{n}" for n in range(1, setup.vms + 1))}
        self.clients = [Client(self, n, self.client_hosts[i % setup.client_hosts]) for i, n in enumerate(names)]
        self.clients_by_name = {client.name: client for client in self.clients}
        self._begin()

    def _begin(self) -> None:
        rng = self.rng("begin")
        for site in self.routers:
            site.start()
        for vm in self.vms.values():
            self.clock.after(rng.random() * 0.1, None, vm.boot)
        for client in self.clients:
            self.clock.after(1.0 + rng.random() * (self.setup.warm_up_s - 1.5), client, client.start)

    # --- what everybody uses ---------------------------------------------------------------------------------

    def rng(self, name: str) -> random.Random:
        """Return a source of randomness of its own for ``name``: what one draws changes no other's."""
        return random.Random(f"{self.setup.seed}/{name}")

    def next_pid(self) -> int:
        """Return a number that no process had."""
        self._pid += 1
        return self._pid

    def note(self, text: str) -> None:
        """Remember what happened, for the trace."""
        self.trace.append(f"{self.clock.now_s:9.4f}  {text}")

    def rules(self, *, sends: bool) -> Rules:
        """Return the times of a watch."""
        return Rules.of(self.times, sends=sends)

    def text_of(self, post_id: int) -> str:
        """Return the text of a post."""
        return str(self.store.posts[post_id - 1].live.text)

    def commit_post(self, username: str, request_id: str, text: str) -> int:
        """Store a post, or find the one that the same request made; tell the hubs."""
        known = self.store.find(username, request_id)
        if known is not None:
            return known
        post_id = self.store.post(username, request_id, text, self.clock.now_s)
        self.ledger.stored(text)
        for follower in self.followers[username]:
            for stream in self.readers[follower]:
                master = stream.link.master
                self.clock.after(HINT_S, master, master.work, delays.PUSH_S, master.pump, stream)
        return post_id

    def lines_to(self, site: Site) -> list[Registration]:
        """Return the lines of all masters to one router."""
        at = self.routers.index(site)
        return [master.registrations[at] for master in self.masters()]

    def masters(self) -> list["Master"]:
        """Return the masters that serve."""
        return [vm.master for vm in self.vms.values() if vm.master is not None]

    def doubt(self, host: str) -> None:
        """Something changed about ``host``: let the pings of its connections find out."""
        for master in self.masters():
            if master.host == host:
                for registration in master.registrations:
                    registration.doubt()
            for link in tuple(master.links):
                if host in (master.host, link.client.host):
                    link.doubt()
        for site in self.routers:
            if site.name == host:
                for line in self.lines_to(site):
                    line.doubt()

    def kill_router(self, site: Site, for_s: float = 0.0) -> None:
        """Kill a router; its supervisord starts it again."""
        site.kill()
        back_s = for_s + site.rng.uniform(*delays.SUPERVISORD_S) + delays.around(ROUTER_BACK_S, site.rng)
        self.clock.after(back_s, None, site.start)

    # --- a run -----------------------------------------------------------------------------------------------

    def live(self, faults: list[Fault]) -> None:
        """Live through ``faults`` and the time after them.

        Raises:
            Violation: an invariant did not hold.
        """
        hands = Hands(self, faults)
        self.clock.run(self.setup.seconds)
        hands.heal()
        self.clock.run(self.setup.seconds + SETTLE_S)
        self.healed_s = self.clock.now_s
        for client in self.clients:
            client.post_soon(LAST_CALL_S / 2)
        self.clock.run(self.setup.seconds + SETTLE_S + LAST_CALL_S)
        self.ledger.check_end()


@dataclass(slots=True)
class Result:
    """What came of a run."""

    setup: Setup
    faults: list[Fault]
    violation: str | None
    trace: list[str] = field(default_factory=list)
    steps: int = 0
    posts: int = 0
    shown: int = 0
    failed_calls: int = 0


def schedule(setup: Setup) -> list[Fault]:
    """Draw the faults of a setup's seed."""
    rng = random.Random(f"{setup.seed}/faults")
    vms = [f"vm{n}" for n in range(1, setup.vms + 1)]
    routers = [f"r{n}" for n in range(1, setup.routers + 1)]
    drawn = draw(rng, vms, routers, setup.seconds - setup.warm_up_s, setup.fault_every_s, setup.only)
    return [Fault(setup.warm_up_s + f.at_s, f.kind, f.target, f.for_s) for f in drawn]


def run(setup: Setup, faults: list[Fault] | None = None, machines: Machines | None = None) -> Result:
    """Run a setup through ``faults``, those of its seed where none are given."""
    faults = schedule(setup) if faults is None else faults
    world = World(setup, machines)
    violation: str | None = None
    try:
        world.live(faults)
    except Violation as found:
        violation = str(found)
    return Result(
        setup,
        faults,
        violation,
        trace=list(world.trace),
        steps=world.clock.steps,
        posts=len(world.store.posts),
        shown=world.ledger.posts_shown,
        failed_calls=world.ledger.failed_calls,
    )


def settings_of(setup: Setup) -> str:
    """Return the arguments of ``python -m tests.simulation`` that repeat a run."""
    named = {
        "seed": setup.seed,
        "vms": setup.vms,
        "clients": setup.clients,
        "routers": setup.routers,
        "seconds": setup.seconds,
        "every": setup.fault_every_s,
        "selection": setup.selection,
    }
    return " ".join(f"--{name} {value}" for name, value in named.items())


def _follows(names: list[str]) -> dict[str, tuple[str, ...]]:
    """Let each client follow the two before it in a ring: every author has two readers."""
    count = len(names)
    before = [back for back in (1, 2) if count > back]
    return {name: tuple(names[at - back] for back in before) for at, name in enumerate(names)}


__all__ = ["Result", "Setup", "World", "run", "schedule", "settings_of"]
