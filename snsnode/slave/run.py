"""The wiring of a slave: watch the master, report its death, replace it from the spare or cold."""

import asyncio
import errno
import logging
from functools import partial
from typing import Any

from snsnode.base.errors import SnsError, Unavailable
from snsnode.guard.machine import Cause, Phase, Rules
from snsnode.guard.times import Times
from snsnode.node import intent
from snsnode.node.config import NodeConfig
from snsnode.node.lock import Holder, RoleLock
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, boot_id, me
from snsnode.node.progress import Progress
from snsnode.node.shortage import lacks_descriptors
from snsnode.observe import events
from snsnode.observe.journal import Journal
from snsnode.pair import beat, disk
from snsnode.pair.memory import MemoryGuard
from snsnode.pair.reload import follow_config
from snsnode.pair.role import keep_role, run_until, take_role
from snsnode.pair.routers import Router, Routers, report_crash
from snsnode.pair.spawn import Child, spawn
from snsnode.pair.watch import Partner, Watch
from snsnode.rpc import master_pb2_grpc, server_pb2
from snsnode.slave.spare import SpareKeeper
from snsnode.transport.channels import call, open_channel
from snsnode.transport.health import Health, register
from snsnode.transport.servers import bind, make_server

log = logging.getLogger(__name__)

# Relative to the working directory: a socket's name may have 107 bytes only.
MASTER_SOCKET = "unix:run/master.sock"
LOCK_WAIT_S = 1.0  # a dying predecessor has this long to let go


async def run(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event) -> None:
    """Be the slave of this VM until ``stop``."""
    lock = RoleLock(vm_dir, "slave")
    await take_role(lock, LOCK_WAIT_S)
    try:
        lock.announce(config=config.digest("slave"))
        # Asked after we announced ourselves: whoever stops us has written the intent before it looked for us.
        if intent.must_not_run(vm_dir, "slave"):
            raise Unavailable(
                f"cannot run the slave of {config.vm}: it was stopped; 'snsctl start slave' starts it"
            )
        await _Slave(vm_dir, config, lock).run(stop)
    finally:
        lock.withdraw()


class _Slave:
    def __init__(self, vm_dir: VmDir, config: NodeConfig, lock: RoleLock) -> None:
        self._vm_dir = vm_dir
        self._lock = lock
        self._config = config
        self._me = me()
        self._progress = Progress(self._me)
        self._progress.move()  # from here on, supervisord sees it where we hang
        self._journal = Journal(vm_dir.journal, config.vm, "slave", later=disk.post)
        self._spares = SpareKeeper(vm_dir, config)
        self._crash: server_pb2.ServerInfo | None = None
        self._routers = Routers(config.routers, self._serve_router)
        self._sequence = 0
        partner = Partner("master", launch=self._launch, beat=self._beat, on_down=self._on_down)
        rules = Rules.of(Times.of(config.keepalive, config.restart), sends=True)
        self._watch = Watch(vm_dir, config, partner, rules, self._journal)

    async def run(self, stop: asyncio.Event) -> None:
        self._channel = open_channel(MASTER_SOCKET)
        server = make_server()
        health = Health()
        register(health, server)
        bind(server, "unix:run/slave.sock")
        await server.start()
        health.set(True)
        self._journal.write(events.SlaveStarted())
        try:
            tasks = [
                ("progress", beat.move(self._progress)),
                ("watch", self._watch.run()),
                ("keep", keep_role(self._vm_dir, self._lock, stop)),
                ("memory", MemoryGuard(self._vm_dir, "slave", self._journal, self._may_end, stop).run()),
                ("routers", self._routers.run()),
                ("config", follow_config(self._vm_dir, lambda new: self._routers.update(new.routers))),
            ]
            if self._config.spare:
                tasks.append(("spare", self._spares.run()))
            await run_until(stop, *tasks)
        finally:
            self._journal.write(events.SlaveEnded(cause="asked to stop" if stop.is_set() else "failed"))
            await server.stop(None)
            await self._channel.close()
            (self._vm_dir.run / "slave.sock").unlink(missing_ok=True)

    async def _may_end(self) -> bool:
        """Tell whether there is a master, which launches the next slave."""
        return self._watch.phase is Phase.UP

    # --- what the watch asks of us -------------------------------------------------------------------------

    async def _launch(self, cause: Cause) -> Child:
        spare = self._spares.send_in()
        if spare is not None:
            log.info("sent in the spare, process %d", spare.identity.pid)
            return spare
        return spawn(self._vm_dir, self._config, "master")

    async def _beat(self, master: Identity) -> None:
        try:
            await self._ask(master)
        except SnsError as error:
            if lacks_descriptors():  # then it is not the master that did not answer
                raise OSError(errno.EMFILE, f"no KeepAlive could be sent: {error.message}") from None
            raise

    async def _ask(self, master: Identity) -> None:
        self._sequence += 1
        request = server_pb2.KeepAliveRequest(
            vm=self._config.vm,
            pid=self._me.pid,
            start_ticks=self._me.start_ticks,
            sequence=self._sequence,
        )
        channel = self._channel
        stub: Any = master_pb2_grpc.MasterStub(channel)
        try:
            reply = await call(stub.KeepAlive, request, self._config.keepalive.timeout_s)
        except Unavailable:
            # Nobody listens yet, or no more. A channel that failed waits before it connects again; a new one
            # finds a master that begins to serve at once.
            if channel is self._channel:
                self._channel = open_channel(MASTER_SOCKET)
                await channel.close()
            raise
        if Identity(reply.pid, reply.start_ticks, boot_id()) != master:
            raise Unavailable(f"process {reply.pid} answered instead of {master.pid}")

    def _on_down(self, holder: Holder | None, cause: Cause) -> None:
        if holder is None:
            log.warning("a master that had announced nothing: %s", cause.value)
            return  # it had no epoch, and no router knows it
        endpoint = self._config.endpoint("slave")
        log.warning("master of epoch %d: %s", holder.epoch, cause.value)
        self._crash = server_pb2.ServerInfo(
            vm=endpoint.vm, hostname=endpoint.address, port=endpoint.port, epoch=holder.epoch
        )
        for router in self._routers.lines.values():
            router.news.set()

    # --- one task for each router --------------------------------------------------------------------------

    async def _serve_router(self, router: Router) -> None:
        """Report every crash to ``router`` until it has heard; the successor may be quicker."""
        while True:
            await router.news.wait()
            router.news.clear()
            crash = self._crash
            if crash is not None:
                await report_crash(router, crash, partial(self._is_last, crash))

    def _is_last(self, crash: server_pb2.ServerInfo) -> bool:
        return crash is self._crash
