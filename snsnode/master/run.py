"""The wiring of a master: take the role and the port, raise the epoch, serve, register, watch the slave, drain."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from functools import partial

from snsnode.base.errors import Fenced, Unavailable
from snsnode.guard.machine import Cause, Rules
from snsnode.guard.times import Times
from snsnode.master.garbage import collect_rarely
from snsnode.master.incarnation import Incarnations
from snsnode.master.keepalive import KeepAliveService, PublicKeepAlive
from snsnode.master.leaving import Leaving
from snsnode.master.orders import Orders
from snsnode.master.registration import Load, Registration
from snsnode.master.spare import wait_for_turn
from snsnode.node import intent
from snsnode.node.config import NodeConfig
from snsnode.node.lock import Holder, RoleLock
from snsnode.node.paths import VmDir
from snsnode.node.process import me
from snsnode.node.progress import Progress
from snsnode.observe import events
from snsnode.observe.journal import Journal
from snsnode.pair import beat, disk
from snsnode.pair.memory import MemoryGuard
from snsnode.pair.reload import follow_config
from snsnode.pair.role import keep_role, run_until, take_role
from snsnode.pair.routers import Routers
from snsnode.pair.spawn import Child, spawn
from snsnode.pair.tasks import first_of
from snsnode.pair.watch import Partner, Watch
from snsnode.rpc import master_pb2_grpc, social_pb2_grpc
from snsnode.social.service import SocialService
from snsnode.store.engines import open_store
from snsnode.store.protocol import Store
from snsnode.transport.health import Health, register
from snsnode.transport.reservation import Reservation, reserve
from snsnode.transport.servers import Server, bind, make_server, make_threaded_server

log = logging.getLogger(__name__)

LOCK_WAIT_S = 2.0  # a dying predecessor has this long to let go
PORT_WAIT_S = 0.25  # and this long after its lock
GRACE_S = 2.0  # after the drain, calls in flight have this long
KEEPALIVE_THREADS = 3  # two for heartbeats, and one that an order may hold
SOCKET = "unix:run/master.sock"  # relative to the working directory: a socket's name may have 107 bytes only


@dataclass
class Life:
    """What this process is: a spare until its turn comes, the master from then on."""

    is_spare: bool

    def who(self) -> str:
        """Return who writes into the journal."""
        return "spare" if self.is_spare else "master"


async def run(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event, *, life: Life) -> None:
    """Be the master of this VM until ``stop``; a spare, once it is needed."""
    store = await open_store(config.store, vm_dir.home)
    spare_lock = RoleLock(vm_dir, "spare")
    lock = RoleLock(vm_dir, "master")
    try:
        # What a successor need not wait for is made before its turn: from then on, clients are waiting.
        servers = _Servers()
        if life.is_spare:
            await take_role(spare_lock, LOCK_WAIT_S)
            spare_lock.announce(config=config.digest("master"))
            if not await _wait_for_turn(vm_dir, config, spare_lock, stop):
                return
            life.is_spare = False
        await take_role(lock, LOCK_WAIT_S)
        # Only now: between two locks the pair would look wholly dead, and be launched a second time.
        spare_lock.withdraw()
        incarnations = Incarnations(vm_dir, config, lock, store)
        incarnations.announce()
        # Asked after we announced ourselves: whoever stops us has written the intent before it looked.
        if intent.must_not_run(vm_dir, "master"):
            raise Unavailable(
                f"cannot run the master of {config.vm}: it was stopped; 'snsctl start master' starts it"
            )
        await _Master(vm_dir, config, lock, store, incarnations).run(servers, stop)
    finally:
        spare_lock.withdraw()
        lock.withdraw()
        await store.close()


async def _wait_for_turn(vm_dir: VmDir, config: NodeConfig, lock: RoleLock, stop: asyncio.Event) -> bool:
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(keep_role(vm_dir, lock, stop), name="keep")
        try:
            return await wait_for_turn(vm_dir, config, stop)
        finally:
            keeping.cancel()


class _Servers:
    """The one on the network, and the one with threads of its own for this VM's heartbeats and orders."""

    def __init__(self) -> None:
        self.public = make_server()
        self.local = make_threaded_server(KEEPALIVE_THREADS)

    async def stop(self) -> None:
        await self.public.stop(None)
        self.local.stop(None)


class _Master:
    def __init__(
        self, vm_dir: VmDir, config: NodeConfig, lock: RoleLock, store: Store, incarnations: Incarnations
    ) -> None:
        self._vm_dir = vm_dir
        self._config = config
        self._lock = lock
        self._incarnations = incarnations
        self._journal = Journal(vm_dir.journal, config.vm, "master", later=disk.post)
        self._fenced = asyncio.Event()
        self._social = SocialService(store, on_fenced=self._fenced.set)
        self._health = Health("sns.v1.SNSService", "sns.v1.Master")
        self._progress = Progress(me())
        self._watch = self._watch_of_slave()
        self._keepalive = KeepAliveService(config, self._progress, incarnations.epoch, self._watch.heard_from)
        self._registration = Registration(
            config.endpoint("master"),
            config.keepalive.interval_s,
            lambda: Load(self._social.clients, self._social.logins),
            incarnations,
        )
        self._routers = Routers(config.routers, self._registration.serve)
        self._leaving = Leaving(vm_dir, self._registration, self._social, self._journal)
        self._orders = Orders(self._leaving, self._registration, self._social)

    async def run(self, servers: _Servers, stop: asyncio.Event) -> None:
        """Serve until ``stop``, then drain."""
        self._routers.connect()
        try:
            # The port first: one that is somebody else's costs no epoch.
            reserved = await disk.do(partial(reserve, self._config.endpoint("master"), PORT_WAIT_S))
            with contextlib.closing(reserved):
                # The epoch rises, durably, before we answer: what a predecessor left in flight is refused.
                if not await self._begin(stop):
                    return
                # We listen last: clients and probes shall be refused at once, not left waiting in a backlog.
                self._add_services(servers, reserved)
                await servers.public.start()
            servers.local.start()
            self._health.set(True)
            self._progress.move()  # the slave sees it within milliseconds, and asks
            self._journal.write(events.Serving(epoch=self._incarnations.epoch()))
            await self._serve(servers.public, stop)
        finally:
            await self._incarnations.close()
            await self._orders.close()
            await servers.stop()
            await self._routers.close()
            (self._vm_dir.run / "master.sock").unlink(missing_ok=True)

    def _add_services(self, servers: _Servers, reserved: Reservation) -> None:
        public, local = servers.public, servers.local
        public.add(social_pb2_grpc.add_SNSServiceServicer_to_server, self._social)
        keepalive = PublicKeepAlive(self._config, self._keepalive, self._registration.info)
        public.add(master_pb2_grpc.add_MasterServicer_to_server, keepalive)
        register(self._health, public)
        for target in reserved.targets:  # not the name again: a resolver may be silent by now
            bind(public, target)
        local.add(master_pb2_grpc.add_MasterServicer_to_server, self._keepalive)
        local.add(master_pb2_grpc.add_OrdersServicer_to_server, self._orders)
        bind(local, SOCKET)

    async def _serve(self, server: Server, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            # The lines to clients and routers outlive the drain, the rest ends before it.
            lines = [
                group.create_task(self._routers.run(), name="routers"),  # first: clients wait there for us
                group.create_task(self._social.run(), name="social"),
                group.create_task(collect_rarely(), name="garbage"),
                group.create_task(beat.move(self._progress), name="progress"),
            ]
            await run_until(
                stop,
                ("watch", self._watch.run()),
                ("keep", keep_role(self._vm_dir, self._lock, stop)),
                ("config", follow_config(self._vm_dir, lambda new: self._routers.update(new.routers))),
                ("claim", self._incarnations.claim_later()),
                ("fence", self._end_when_fenced()),
                ("leaving", self._leaving.run()),
                ("memory", MemoryGuard(self._vm_dir, "master", self._journal, self._leaving.may_end, stop).run()),
            )
            await self._drain(server)
            await self._incarnations.close()
            for line in lines:
                line.cancel()

    async def _drain(self, server: Server) -> None:
        """Leave without a failed call: no new clients, those here moved, what is in flight answered.

        All of it takes less than the 10 s that supervisord waits before it kills (``stopwaitsecs``): 0.3 s for the
        routers, 3 s to move, twice 1.5 s for calls and streams, ``GRACE_S``.
        """
        self._journal.write(events.Draining(clients=self._social.clients))
        self._health.set(False)
        await self._leaving.end()
        await self._social.drain()
        await server.stop(GRACE_S)

    # --- the incarnation ---------------------------------------------------------------------------------------

    async def _begin(self, stop: asyncio.Event) -> bool:
        """Be a new incarnation; False where we are stopped before: the store may let nobody in for long."""
        became = asyncio.Event()

        async def become() -> None:
            await self._incarnations.rise()
            became.set()

        await first_of(become(), stop.wait())
        return became.is_set()

    async def _end_when_fenced(self) -> None:
        await self._fenced.wait()
        raise Fenced(f"cannot go on as epoch {self._incarnations.epoch()}: another incarnation replaced it")

    # --- the slave --------------------------------------------------------------------------------------------

    def _watch_of_slave(self) -> Watch:
        async def launch(cause: Cause) -> Child:
            return spawn(self._vm_dir, self._config, "slave")

        def on_down(holder: Holder | None, cause: Cause) -> None:
            log.warning("the slave: %s", cause.value)

        rules = Rules.of(Times.of(self._config.keepalive, self._config.restart), sends=False)
        partner = Partner("slave", launch=launch, beat=None, on_down=on_down)
        return Watch(self._vm_dir, self._config, partner, rules, self._journal)
