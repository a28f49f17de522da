"""The wiring of a router: lock, exclusive bind, serve, end."""

import asyncio
from functools import partial

from snsnode.base.errors import Unavailable
from snsnode.node import intent
from snsnode.node.config import NodeConfig
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
from snsnode.node.process import me
from snsnode.node.progress import Progress
from snsnode.observe import events
from snsnode.observe.journal import Journal
from snsnode.pair import beat, disk
from snsnode.pair.memory import MemoryGuard
from snsnode.pair.reload import follow_config
from snsnode.pair.role import keep_role, run_until, take_role
from snsnode.router.probe import answers
from snsnode.router.service import RouterService
from snsnode.router.spec import SpecFile
from snsnode.rpc import router_pb2_grpc
from snsnode.transport.health import Health, register
from snsnode.transport.reservation import reserve
from snsnode.transport.servers import bind, make_server

GRACE_S = 0.5  # Connects that wait for a server are ended after this; clients ask again
LOCK_WAIT_S = 1.0
# Of another router's table: as many servers as a spec has, each of 350 bytes at most.
TABLE_MAX_BYTES = 2 * 1024 * 1024


async def run(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event) -> None:
    """Be the router of this VM until ``stop``."""
    lock = RoleLock(vm_dir, "router")
    await take_role(lock, LOCK_WAIT_S)
    progress = Progress(me())
    journal = Journal(vm_dir.journal, config.vm, "router", later=disk.post)
    server = make_server(TABLE_MAX_BYTES)
    try:
        # In the owned thread: a name is looked up, and a resolver may be silent.
        with await disk.do(partial(reserve, config.endpoint("router"))) as reserved:
            for target in reserved.targets:
                bind(server, target)
        lock.announce(config=config.digest("router"))
        if intent.must_not_run(vm_dir, "router"):
            raise Unavailable(
                f"cannot run the router of {config.vm}: it was stopped; 'snsctl start router' starts it"
            )
        spec = SpecFile(vm_dir, config)
        service = RouterService(config, spec.read(), answers)
        server.add(router_pb2_grpc.add_RouterServicer_to_server, service)
        health = Health("sns.v1.Router")
        register(health, server)
        await server.start()
        health.set(True)
        journal.write(events.RouterStarted())
        await run_until(
            stop,
            ("progress", beat.move(progress)),
            ("leases", service.run()),
            ("exchange", service.exchange()),
            ("keep", keep_role(vm_dir, lock, stop)),
            ("config", follow_config(vm_dir, spec.update)),
            ("spec", spec.follow(service.update)),
            ("memory", MemoryGuard(vm_dir, "router", journal, _may_end, stop).run()),
        )
        health.set(False)
        journal.write(events.RouterEnded(cause="asked to stop"))
    finally:
        await server.stop(GRACE_S if stop.is_set() else None)
        lock.withdraw()


async def _may_end() -> bool:
    """Let even an only router end: supervisord launches it again within a second or two.

    Clients keep their servers meanwhile, and masters register anew at once. To go on would end in the kernel's
    hands.
    """
    return True
