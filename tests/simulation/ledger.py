"""The invariants: what must hold at every step, and at the end. The first that does not hold ends the run."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from snsnode.base.errors import SnsError
from snsnode.guard import invariants, machine
from snsnode.guard.judge import Memory, Verdict
from snsnode.guard.machine import Cause
from snsnode.guard.view import Me, View
from snsnode.router import table as tables
from snsnode.rpc import social_pb2

if TYPE_CHECKING:
    from tests.simulation.client import Client
    from tests.simulation.master import Master
    from tests.simulation.router import Router, Site
    from tests.simulation.vm import VM, Process, Role
    from tests.simulation.watching import Watch
    from tests.simulation.world import World

HEALTHY_S = 2.5  # a process that ran so long without a fault is healthy: its watcher had time to see it
RETRIES_MIN = 6  # rounds that a client waited for before its Connects must be spread
PEAK_WINDOW_S = 0.1
PEAK_SHARE = 0.75  # of all clients, within one window, at one router
SHOWN_WITHIN_S = 5.0


class Violation(AssertionError):
    """An invariant does not hold."""


class Ledger:
    """Keeps what is needed to judge, and what is counted."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._next: dict[tuple[str, str], int] = {}  # (reader, author) → index of the author's next post
        self._last: dict[str, int] = {}  # reader → the last id shown
        self._texts: dict[str, float] = {}  # text → when it was stored
        self._renewed: dict[tuple[str, int, str], float] = {}
        self._retries: dict[str, deque[float]] = {}
        self.failed_calls = 0
        self.refusals = 0
        self.posts_shown = 0
        self.arrivals: dict[str, list[float]] = {}  # of Connects, by router
        self.registrations: dict[str, list[float]] = {}
        self.served_at: dict[str, list[float]] = {}  # client → when its timeline answered

    def fail(self, what: str) -> None:
        """End the run.

        Raises:
            Violation: always.
        """
        self._world.note(f"VIOLATION {what}")
        raise Violation(f"at {self._world.clock.now_s:.3f} s: {what}")

    # --- the pair --------------------------------------------------------------------------------------------

    def check_decision(self, watch: "Watch", role: "Role") -> None:
        """A launch is decided: not of what was stopped."""
        if watch.vm.stopped[role]:
            self.fail(f"a stop is undone: {watch.owner.kind} of {watch.vm.name} launches the {role}")

    def check_launch(self, watch: "Watch", role: "Role") -> None:
        """Somebody is launched: nobody of that role may live that this watcher knew."""
        known = watch.vm.find(watch.state.partner)
        if known is not None and known.alive:
            self.fail(f"two live {role}s: {watch.owner.kind} of {watch.vm.name} launches one more")

    def check_serving(self, master: "Master") -> None:
        """A master begins to serve: alone, and meant to."""
        other = master.vm.port.listener
        if other is not None and other is not master and other.alive:
            self.fail(f"two live masters of {master.vm.name}")
        self.check_stopped(master, "master")

    def check_stopped(self, process: "Process", role: "Role") -> None:
        """A role begins: not where it was stopped before it was started."""
        if process.vm.stopped[role] and process.vm.stopped_s < process.role_s:
            self.fail(f"a stop is undone: a {role} of {process.vm.name} begins")

    def check_verdict(self, watch: "Watch", victim: "Process", cause: Cause) -> None:
        """A partner is condemned: not a healthy one."""
        if cause is Cause.DEAD and victim.alive:
            self.fail(f"{victim.kind} of {victim.vm.name} was called dead, and lives")
        self._check_ill(victim, f"{watch.owner.kind}: {cause.value}")

    def check_ended(self, victim: "Process", why: str) -> None:
        """The judge condemned one: not a healthy one."""
        self._check_ill(victim, why)

    def check_machine(
        self,
        watch: "Watch",
        before: machine.State,
        event: machine.Event,
        wanted: bool,
        actions: Sequence[machine.Action],
    ) -> None:
        """A partner's machine took a step: its invariants hold."""
        now_s, rules = self._world.clock.now_s, watch.rules
        if not self._world.setup.strict:
            return
        if broken := invariants.by_machine(before, event, now_s, rules, wanted, watch.state, actions):
            self.fail(f"{watch.owner.kind} of {watch.vm.name} breaks {broken[0]}")

    def check_judge(self, vm: "VM", memory: Memory, view: View, me: Me, verdict: Verdict) -> None:
        """An observer looked: the judge keeps its promises."""
        now_s, times = self._world.clock.now_s, self._world.times
        if not self._world.setup.strict:
            return
        if broken := invariants.by_judge(memory, view, me, now_s, times, *verdict):
            self.fail(f"the judge of {vm.name}, for the {me.value}, {broken[0]}")

    def _check_ill(self, victim: "Process", why: str) -> None:
        healthy = victim.alive and not victim.stuck and not victim.vm.paused
        if healthy and self._world.clock.now_s - victim.ill_until_s > HEALTHY_S:
            self.fail(f"a healthy {victim.kind} of {victim.vm.name} is killed ({why})")

    def check_epoch(self, master: "Master", epoch: int) -> None:
        """An epoch was claimed: above every one before."""
        if epoch <= master.vm.epoch:
            self.fail(f"the epoch of {master.vm.name} falls from {master.vm.epoch} to {epoch}")

    # --- the routers -----------------------------------------------------------------------------------------

    def check_table(self, router: "Router", before: tables.Table) -> None:
        """A table changed: no epoch fell, nobody was forgotten."""
        after = router.table.servers
        if router.table.claim < before.claim:
            self.fail(f"{router.name}: the highest claim falls from {before.claim} to {router.table.claim}")
        for vm, server in before.servers.items():
            now = after.get(vm)
            if now is server:
                continue
            if now is None or now.epoch < server.epoch:
                self.fail(f"{router.name}: the epoch of {vm} falls from {server.epoch} to {now and now.epoch}")
            elif now.down and not server.down:
                self._check_dead(router, now)

    def _check_dead(self, router: "Router", server: tables.Server) -> None:
        """A server was taken for dead: that very incarnation is."""
        master = self._world.vms[server.vm].master
        if master is not None and master.epoch == server.epoch:
            self.fail(f"{router.name} takes epoch {server.epoch} of {server.vm} for dead, and it serves")

    def check_offer(self, router: "Router", server: tables.Server) -> None:
        """A client is given a server: not one that is dead while another lives."""
        dead = server.down or router.crashed.get(server.vm, 0) >= server.epoch
        others = router.table.servers.values()
        if dead and any(not other.down and router.crashed.get(other.vm, 0) < other.epoch for other in others):
            self.fail(f"{router.name} offers {server.vm} epoch {server.epoch}, which crashed, while another lives")

    def renewed(self, router: "Router", server: tables.Server, now_s: float) -> None:
        """A registration was accepted."""
        self._renewed[router.name, router.life, server.vm] = now_s

    def check_leases(self, router: "Router", before: tables.Table) -> None:
        """Leases were looked at: nobody is suspected who renewed in time."""
        if router.table.servers is before.servers:
            return
        for vm, server in router.table.servers.items():
            if server.suspect and not before.servers[vm].suspect:
                ago_s = self._world.clock.now_s - self._renewed.get((router.name, router.life, vm), -1e9)
                if ago_s < server.lease_s - 1e-6:
                    self.fail(f"{router.name} suspects {vm}, which renewed its lease {ago_s:.3f} s ago")

    def check_ask(self, site: "Site", failures: int) -> None:
        """A client begins a round after a pause: those that have paused often do not come all at once."""
        if failures < RETRIES_MIN:
            return
        now_s, window = self._world.clock.now_s, self._retries.setdefault(site.name, deque())
        window.append(now_s)
        while window[0] < now_s - PEAK_WINDOW_S:
            window.popleft()
        if len(window) > max(PEAK_SHARE * len(self._world.clients), 15):
            self.fail(f"{len(window)} of {len(self._world.clients)} clients ask {site.name} again within 100 ms")

    def count_registration(self, router: "Router") -> None:
        """A master registered."""
        self._count(self.registrations, router.name)

    def count_connect(self, router: "Router") -> None:
        """A Connect arrived."""
        self._count(self.arrivals, router.name)

    def _count(self, counts: dict[str, list[float]], name: str) -> None:
        counts.setdefault(name, []).append(self._world.clock.now_s)

    # --- posts and timelines ---------------------------------------------------------------------------------

    def stored(self, text: str) -> None:
        """A post was committed: once."""
        if text in self._texts:
            self.fail(f"post {text} is stored twice")
        self._texts[text] = self._world.clock.now_s

    def acknowledged(self, client: "Client", number: int, first_s: float) -> None:
        """A post was acknowledged: it is stored."""
        if f"{client.name}/{number}" not in self._texts:
            self.fail(f"post {client.name}/{number} is acknowledged and not stored")

    def entered(self, client: "Client", history: Sequence[social_pb2.Post]) -> None:
        """A timeline opened for the first time: newest first."""
        after = client.progress.after or 0
        ids = [post.post_id for post in history]
        if ids != sorted(set(ids), reverse=True) or (ids and ids[0] > after):
            self.fail(f"the history of {client.name} is out of order: {ids}, up to {after}")
        self._last[client.name] = after
        for author in self._world.store.followees[client.name]:
            self._next[client.name, author] = bisect_right(self._world.store.by_author[author], after)

    def shown(self, client: "Client", posts: Sequence[social_pb2.Post]) -> None:
        """Live posts were shown: each author's next one, ids ascending."""
        for post in posts:
            key = (client.name, post.username)
            written, at = self._world.store.by_author[post.username], self._next[key]
            expected = written[at] if at < len(written) else None
            if post.post_id != expected or post.post_id <= self._last[client.name]:
                what = "twice" if post.post_id <= self._last[client.name] else f"and {expected} was missed"
                self.fail(f"post {post.post_id} of {post.username} is shown to {client.name}, {what}")
            self._next[key] = at + 1
            self._last[client.name] = post.post_id
            self.posts_shown += 1

    def served(self, client: "Client") -> None:
        """A timeline answered."""
        self.served_at.setdefault(client.name, []).append(self._world.clock.now_s)

    def refused(self, client: "Client", error: SnsError) -> None:
        """A login was refused for good; nobody here shares a name."""
        self.refusals += 1
        self.fail(f"the login of {client.name} is refused: {error.message}")

    def call_failed(self, client: "Client", first_s: float, error: SnsError) -> None:
        """A call ran out of its deadline: faults may last as long, but nothing else."""
        self.failed_calls += 1
        if self._world.healed_s is not None:
            self.fail(
                f"a call of {client.name}, begun at {first_s:.3f} s, fails after all faults: {error.message}"
            )

    # --- the end ---------------------------------------------------------------------------------------------

    def check_end(self) -> None:
        """All faults are over for long: everybody is served, and has seen everything."""
        world = self._world
        until_s = world.clock.now_s - SHOWN_WITHIN_S
        for client in world.clients:
            if client.answered_s < (world.healed_s or 0.0):
                self.fail(f"{client.name} waits since {client.waits_since_s} s for an answer")
            if not client.is_reading:
                self.fail(f"the timeline of {client.name} is not open")
            for author in world.store.followees[client.name]:
                written, at = world.store.by_author[author], self._next[client.name, author]
                late = at < len(written) and self._texts[world.text_of(written[at])] < until_s
                if late:
                    self.fail(f"post {written[at]} of {author} was never shown to {client.name}")
        for site in world.routers:
            for name, vm in world.vms.items():
                self._check_known(site, name, vm.port.listener is not None)

    def _check_known(self, site: "Site", name: str, serves: bool) -> None:
        """Every live master is known as such to every router; and every VM serves again."""
        server = next((s for s in site.router.table.servers.values() if s.vm == name), None)
        if not serves:
            self.fail(f"{name} has no serving master")
        if server is None or server.down or server.suspect:
            known = "nothing" if server is None else site.router.table.state_of(server).value
            self.fail(f"{site.name} knows {known} of the live master of {name}")
