"""A router: what snsnode/router/service.py does around the same pure table."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from snsnode.base.errors import SnsError, Unavailable
from snsnode.base.ids import Epoch, VmName
from snsnode.client import moves
from snsnode.client.rounds import WAIT_MS
from snsnode.node.config import Endpoint
from snsnode.pair.routers import RETRY, TIMEOUT_S
from snsnode.router import table as tables
from snsnode.router.asking import ASK_S
from snsnode.router.belief import PROBE_S
from snsnode.router.exchange import APART_S, EVERY_MAX_S, LEASE_SHARE
from snsnode.router.merge import News, unsure
from snsnode.router.present import is_news
from snsnode.router.service import EXPIRE_EVERY_S
from tests.simulation import delays
from tests.simulation.clock import Timer, cancel
from tests.simulation.network import Call, Port, Server
from tests.table_rig import news_of

if TYPE_CHECKING:
    from tests.simulation.world import World


class Site:
    """Where a router runs; supervisord brings a killed one back, empty."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.port = Port(name)
        self.rng = world.rng(name)
        self.lives = 0
        self.router: Router  # from the first start on

    @property
    def is_running(self) -> bool:
        """Tell whether a router is there that is not frozen."""
        return self.router.alive and self.router.frozen == 0

    def start(self) -> None:
        """Start a router, unless one runs."""
        if self.lives == 0 or not self.router.alive:
            self.router = Router(self)

    def kill(self) -> None:
        """End the router at once."""
        router = self.router
        if not router.alive:
            return
        self.world.note(f"{self.name}: the router ends")
        router.alive = False
        self.port.listener = None
        router.end_calls(lambda: delays.around(delays.RESET_S, self.rng))
        for line in self.world.lines_to(self):
            line.router_died()


class Router(Server):
    """One life of a router."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.name, site.world.clock)
        self.world = site.world
        self.name = site.name
        self.rng = site.rng
        site.lives += 1
        self.life = site.lives
        now_s = self.clock.now_s
        members = tables.members_of(Endpoint(VmName(vm), vm, 1) for vm in self.world.vms)
        self.table = tables.Table(members=members, selection=self.world.setup.selection, started_s=now_s)
        self.crashed: dict[str, int] = {}  # what we believed: the highest epoch of each VM that crashed
        self._crashes: dict[str, tuple[int, float]] = {}  # the last report of each
        self._asks: dict[str, list[Callable[[tables.Server | None], None]]] = {}
        self._waiting: dict[Call, tuple[Timer, moves.Server | None]] = {}
        self._probes: dict[tuple[str, int], tuple[moves.Server, list[Callable[[], None]]]] = {}
        self._lines = [Line(self, other) for other in self.world.routers if other is not site]
        site.port.listener = self
        self.clock.after(EXPIRE_EVERY_S, self, self._expire)

    # --- calls -----------------------------------------------------------------------------------------------

    def cost_s(self, call: Call) -> float:
        """Return what a call takes of the core."""
        match call.method:
            case "register":
                return delays.CALL_S + delays.TABLE_S * len(self.table.servers)
            case "exchange":
                return delays.CALL_S + self.exchange_s
            case "connect":
                return delays.CONNECT_S + self.offer_s
            case _:
                return delays.CALL_S

    @property
    def exchange_s(self) -> float:
        """What it takes to tell a table, and to take one."""
        return delays.MERGE_S * len(self.table.servers)

    @property
    def offer_s(self) -> float:
        """What it takes to choose a server for a client."""
        return delays.OFFER_S * len(self.table.servers) if self.table.selection == "spread" else 0.0

    def work(self, cost_s: float, job: Call | Callable[..., object], *args: Any) -> None:
        """Queue a job; Connects are counted as they come."""
        if isinstance(job, Call) and job.method == "connect":
            self.world.ledger.count_connect(self)
        super().work(cost_s, job, *args)

    def handle(self, call: Call) -> None:
        """Serve a master, a slave or a client."""
        match call.method:
            case "register":
                self._register(call, call.request)
            case "crash":
                self._crash(call, *call.request)
            case "exchange":
                self.hear(*call.request, at_s=self.clock.now_s)
                call.reply((news_of(self.table), self.clock.now_s))
            case _:
                self._connect(call, call.request)

    def _register(self, call: Call, server: tables.Server) -> None:
        """Take a registration; ask the server itself where it may not be believed."""
        self.world.ledger.count_registration(self)
        is_refused = tables.refused(self.table, server, confirmed=True) is not None
        if is_refused or not tables.is_doubtful(self.table, server):
            self._answer(call, server, confirmed=False)
            return

        def ended(own: tables.Server | None) -> None:
            if own is None or own.epoch != server.epoch:
                call.refuse(Unavailable("it does not confirm this epoch"))
            else:
                self._answer(call, own, confirmed=True)

        self._ask(server.vm, ended)

    def _ask(self, vm: str, then: Callable[[tables.Server | None], None]) -> None:
        """Ask a server who it is, once for all who want to know."""
        if vm in self._asks:
            self._asks[vm].append(then)
            return
        self._asks[vm] = [then]
        asked_s = self.clock.now_s

        def ended(own: Any, error: SnsError | None) -> None:
            crashed, at_s = self._crashes.get(vm, (0, -1.0))
            own = None if own is not None and at_s >= asked_s and crashed >= own.epoch else own
            for each in self._asks.pop(vm):
                each(own)

        self.world.network.call(self, self.world.vms[vm].port, "who", None, ASK_S, ended)

    def _take_own_word(self, own: tables.Server | None) -> None:
        if own is not None and tables.refused(self.table, own, confirmed=True) is None:
            self._renew(own, confirmed=True)

    def _renew(self, server: tables.Server, *, confirmed: bool) -> tables.Verdict:
        machines, silence_s, now_s = self.world.machines, self.world.setup.silence_s, self.clock.now_s
        table, verdict = machines.register(self.table, server, silence_s, now_s, confirmed=confirmed)
        if verdict.accepted:
            self.world.ledger.renewed(self, server, now_s)
        self._set(table)
        return verdict

    def _answer(self, call: Call, server: tables.Server, *, confirmed: bool) -> None:
        verdict = self._renew(server, confirmed=confirmed)
        mine = self.table.servers.get(server.vm)
        state = self.table.state_of(mine) if mine is not None else None
        claim = mine.claim if mine is not None else 0
        call.reply((verdict.accepted, verdict.epoch, state, self.table.claim, claim))

    def _crash(self, call: Call, vm: str, epoch: int) -> None:
        self._crashes[vm] = (epoch, self.clock.now_s)
        table, verdict = self.world.machines.crash(self.table, VmName(vm), Epoch(epoch), self.clock.now_s)
        if verdict.accepted:
            self.crashed[vm] = max(epoch, self.crashed.get(vm, 0))
        self._set(table)
        call.reply((verdict.accepted, verdict.epoch))

    def _connect(self, call: Call, unreachable: moves.Server | None) -> None:
        if unreachable is None:
            self._offer_or_wait(call, None)
        else:
            self._check(unreachable, lambda: self._offer_or_wait(call, unreachable))

    def _offer_or_wait(self, call: Call, unreachable: moves.Server | None) -> None:
        if self._offered(call, unreachable):
            return
        timer = self.clock.after(WAIT_MS / 1000, self, self._give_up, call)
        self._waiting[call] = (timer, unreachable)

    def _offered(self, call: Call, unreachable: moves.Server | None) -> bool:
        server = self.table.offer(self.clock.now_s)
        if server is None:
            return False
        if server.suspect and unreachable is not None and (server.vm, server.epoch) == _key(unreachable):
            return False
        self._give(call, server)
        return True

    def _give_up(self, call: Call) -> None:
        self._waiting.pop(call, None)
        server = self.table.offer(self.clock.now_s)
        if server is not None:
            self._give(call, server)
        else:
            call.refuse(Unavailable("no server is registered"))

    def _give(self, call: Call, server: tables.Server) -> None:
        self.world.ledger.check_offer(self, server)
        self.table = tables.count_offer(self.table, server.vm, self.clock.now_s)
        call.reply(moves.Server(server.vm, server.address, server.port, server.epoch))

    # --- doubts ----------------------------------------------------------------------------------------------

    def _check(self, reported: moves.Server, then: Callable[[], None]) -> None:
        """Probe a reported server, once for all who ask, unless the table says enough."""
        if not self._is_doubtful(reported):
            then()
            return
        key = _key(reported)
        if key in self._probes:
            self._probes[key][1].append(then)
            return
        self._probes[key] = (reported, [then])

        def ended(answer: Any, error: SnsError | None) -> None:
            _, asking = self._probes.pop(key, (reported, []))
            if not answer and self._is_doubtful(reported):
                self._set(tables.suspect(self.table, VmName(reported.vm), Epoch(reported.epoch), self.clock.now_s))
            for each in asking:
                each()

        self.world.network.call(self, self.world.vms[reported.vm].port, "probe", None, PROBE_S, ended)

    def _is_doubtful(self, reported: moves.Server) -> bool:
        server = self.table.servers.get(VmName(reported.vm))
        return server is not None and not server.down and not server.suspect and server.epoch == reported.epoch

    def _expire(self) -> None:
        before = self.table
        self._set(self.world.machines.expire(before, self.clock.now_s))
        self.world.ledger.check_leases(self, before)
        self.clock.after(EXPIRE_EVERY_S, self, self._expire)

    def _set(self, table: tables.Table) -> None:
        before, self.table = self.table, table
        if before is table:
            return
        if before.available != table.available:
            self.world.note(f"{self.name}: available {table.available} (was {before.available})")
        if before.servers is table.servers and before.available == table.available:
            return
        self.world.ledger.check_table(self, before)
        if is_news(before, table):
            self._wake()
            for line in self._lines:
                line.news()

    def hear(self, told: Sequence[News], told_s: float, *, at_s: float) -> None:
        """Take what another router told; by our clock it was told at ``at_s``."""
        shift_s = at_s - told_s
        news = [replace(each, heard_s=each.heard_s + shift_s) for each in told] if shift_s else told
        self._set(self.world.machines.merge(self.table, news, self.world.setup.silence_s, self.clock.now_s))
        for vm in unsure(self.table, news):
            if vm not in self._asks:
                self._ask(vm, self._take_own_word)

    def _wake(self) -> None:
        """Serve those who wait for a server, and those whose probe the table has answered."""
        for key, (reported, asking) in tuple(self._probes.items()):
            if not self._is_doubtful(reported):
                self._probes[key] = (reported, [])
                for each in asking:
                    each()
        for call, (timer, unreachable) in tuple(self._waiting.items()):
            if call.over:
                self._waiting.pop(call, None)
            elif call in self._waiting and self._offered(call, unreachable):
                self._waiting.pop(call, None)
                cancel(timer)


class Line:
    """A router's line to another one: what snsnode/router/exchange.py does."""

    def __init__(self, router: Router, other: Site) -> None:
        self._router = router
        self._other = other
        self._clock = router.clock
        self._every_s = min(EVERY_MAX_S, router.world.setup.silence_s / LEASE_SHARE)
        self._has_news = False
        self._rests = False
        self._failures = 0
        self._timer = self._clock.after(router.rng.random() * APART_S, router, self._exchange)

    def news(self) -> None:
        """Tell it soon."""
        self._has_news = True
        if self._rests:
            self._rests = False
            cancel(self._timer)
            self._timer = self._clock.after(0.0, self._router, self._exchange)

    def _exchange(self) -> None:
        router, asked_s = self._router, self._clock.now_s
        self._has_news = self._rests = False
        request = (news_of(router.table), asked_s)

        def ended(reply: Any, error: SnsError | None) -> None:
            if error is not None:
                delay_s = RETRY.around_s(self._failures, router.rng.random())
                self._failures += 1
                self._timer = self._clock.after(delay_s, router, self._exchange)
                return
            self._failures = 0
            router.work(router.exchange_s, lambda: router.hear(*reply, at_s=asked_s))
            self._timer = self._clock.after(APART_S, router, self._rest)

        router.world.network.call(router, self._other.port, "exchange", request, TIMEOUT_S, ended)

    def _rest(self) -> None:
        if self._has_news:
            self._exchange()
            return
        self._rests = True
        self._timer = self._clock.after(self._every_s, self._router, self._exchange)


def _key(server: moves.Server) -> tuple[str, int]:
    return server.vm, server.epoch
