"""The router's servicer: thin around the table; lets clients wait for a server, probes what they report."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from snsnode.base.errors import Denied, Unavailable
from snsnode.base.ids import Epoch, VmName
from snsnode.node.config import Endpoint, NodeConfig
from snsnode.pair.tasks import Tasks, first_of
from snsnode.router import table as tables
from snsnode.router.exchange import Exchange
from snsnode.router.merge import merge
from snsnode.router.peer import Machines
from snsnode.router.table import Server
from snsnode.router.wire import STATES, info_of, server_of, told_of
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2

log = logging.getLogger(__name__)

EXPIRE_EVERY_S = 0.1
WAIT_MAX_S = 2.0  # a client waits at most so long in one Connect
WAITING_MAX = 10_000  # clients that wait at once; more are told to come again
PROBE_S = 0.3  # a server that does not answer within this is unreachable for clients too


class RouterService(router_pb2_grpc.RouterServicer):
    """Serves one table. ``probe`` asks a target whether it serves, within a time."""

    def __init__(self, config: NodeConfig, probe: Callable[[str, float], Coroutine[Any, Any, bool]]) -> None:
        self._config = config
        self._probe = probe
        self._changed = asyncio.Event()
        self._started_s = time.monotonic()
        self._table = tables.Table(selection=config.selection, started_s=self._started_s)
        self._waiting = 0
        self._machines = Machines()
        self._exchange = Exchange(config, self._told, self._hear, self._machines)
        self._probes: dict[tuple[VmName, Epoch], asyncio.Task[bool]] = {}
        self._tasks = Tasks()

    async def RegisterServer(  # noqa: N802
        self, request: server_pb2.ServerInfo, context: Any
    ) -> server_pb2.KeepAliveReply:
        """Take or renew a registration."""
        server = server_of(request)
        lease_s = self._config.keepalive.silence_s
        if tables.believed(self._table, server.claim) != server.claim:
            log.warning("claim %d of %s is beyond belief, and counts for nothing", server.claim, server.vm)
        table, verdict = tables.register(self._table, server, lease_s, time.monotonic())
        known = self._table.servers.get(server.vm)
        if verdict.accepted and (known is None or known.epoch != server.epoch or known.down):
            log.info("registered %s at %s:%d, epoch %d", server.vm, server.address, server.port, server.epoch)
        elif not verdict.accepted:
            log.warning("refused a registration: %s", verdict.message)
        self._set(table)
        mine = self._table.servers.get(server.vm)
        return server_pb2.KeepAliveReply(
            accepted=verdict.accepted,
            message=verdict.message,
            epoch=verdict.epoch,
            lease_ms=round(lease_s * 1000),
            state=STATES[self._table.state_of(mine)] if mine is not None else server_pb2.SERVER_STATE_UNSPECIFIED,
            claim=self._table.claim,
            granted_claim=mine.claim if mine is not None else 0,
        )

    async def Crash(  # noqa: N802
        self, request: server_pb2.ServerInfo, context: Any
    ) -> server_pb2.KeepAliveReply:
        """Remove a dead server; its own machine knows, what another one says is only a hint."""
        server = server_of(request)
        if await self._is_believed(server, context.peer()):
            is_own = await self._machines.is_from(context.peer(), server.address)
            at = (server.address, server.port) if is_own else None
            table, verdict = tables.crash(self._table, server.vm, server.epoch, time.monotonic(), at)
            self._set(table)
        else:
            known = self._table.servers[server.vm]
            message = "reported by another machine, and not confirmed by a probe"
            verdict = tables.Verdict(False, known.epoch, message)
        log.info("crash of %s, epoch %d: %s", server.vm, server.epoch, verdict.message)
        return server_pb2.KeepAliveReply(accepted=verdict.accepted, message=verdict.message, epoch=verdict.epoch)

    async def Connect(  # noqa: N802
        self, request: router_pb2.ClientConnect, context: Any
    ) -> server_pb2.ServerInfo:
        """Give a client its server; wait for one at most ``wait_ms`` where there is none."""
        until_s = time.monotonic() + min(request.wait_ms / 1000, WAIT_MAX_S)
        if self._waiting >= WAITING_MAX:
            raise Unavailable(f"cannot connect: {WAITING_MAX} clients wait already; try again in a moment")
        self._waiting += 1
        try:
            if request.HasField("unreachable"):
                await self._check(VmName(request.unreachable.vm), Epoch(request.unreachable.epoch))
            return await self._wait_for_server(request, until_s)
        finally:
            self._waiting -= 1

    async def Exchange(  # noqa: N802
        self, request: router_pb2.TableReply, context: Any
    ) -> router_pb2.TableReply:
        """Take another router's table, and answer with ours."""
        if not await self._exchange.knows(context.peer()):
            raise Denied(
                "cannot exchange tables: you are on no machine of another router of this cluster's spec; "
                "generate this VM's files anew where the spec has changed"
            )
        self._hear(request, time.monotonic())
        return self._told()

    async def Table(  # noqa: N802
        self, request: router_pb2.TableRequest, context: Any
    ) -> router_pb2.TableReply:
        """Tell the table to operators."""
        return self._told()

    async def run(self) -> None:
        """Watch the leases until cancelled."""
        try:
            while True:
                self._set(tables.expire(self._table, time.monotonic()))
                await asyncio.sleep(EXPIRE_EVERY_S)
        finally:
            await self._tasks.close()

    async def exchange(self) -> None:
        """Exchange with the other routers until cancelled."""
        await self._exchange.run()

    def update(self, config: NodeConfig) -> None:
        """Take the other routers of ``config`` from now on."""
        self._exchange.update(config)

    async def _wait_for_server(self, request: router_pb2.ClientConnect, until_s: float) -> server_pb2.ServerInfo:
        while True:
            changed, now_s = self._changed, time.monotonic()
            server = self._table.offer(now_s)
            if server is not None and not self._is_reported(server, request):
                return self._give(server, now_s)
            if now_s >= until_s:
                if server is not None:
                    return self._give(server, now_s)  # the last one is offered all the same
                raise Unavailable("cannot connect: no server is registered; try again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until_s - now_s):
                    await changed.wait()

    def _told(self) -> router_pb2.TableReply:
        now_s = time.monotonic()
        return router_pb2.TableReply(
            vm=self._config.vm,
            available_vm=self._table.available or "",
            servers=[info_of(self._table, server, now_s) for server in self._table.servers.values()],
            uptime_ms=round((now_s - self._started_s) * 1000),
        )

    def _hear(self, told: router_pb2.TableReply, at_s: float) -> None:
        lease_s = self._config.keepalive.silence_s
        self._set(merge(self._table, told_of(told, at_s), lease_s, time.monotonic()))

    def _is_reported(self, server: Server, request: router_pb2.ClientConnect) -> bool:
        """Tell whether ``server`` is the very one that this client, and our probe, could not reach."""
        reported = request.unreachable
        return server.suspect and (server.vm, server.epoch) == (reported.vm, reported.epoch)

    async def _check(self, vm: VmName, epoch: Epoch) -> None:
        """Probe a server that a client could not reach, once for many clients; doubt it if it is silent.

        One that registers meanwhile is slow, not silent: on a busy machine the probe waits where its clients do.
        """
        server = self._table.servers.get(vm)
        if server is None or server.down or server.suspect or server.epoch != epoch:
            return
        asked_s = time.monotonic()
        if await self._is_silent(server) and self._table.servers[vm].heard_s < asked_s:
            self._set(tables.suspect(self._table, vm, epoch, time.monotonic()))

    async def _is_believed(self, crashed: Server, peer: str) -> bool:
        """Tell whether a crash that ``peer`` reports is one, or at least changes nothing."""
        known = self._table.servers.get(crashed.vm)
        if known is None or crashed.epoch < known.epoch or await self._machines.is_from(peer, known.address):
            return True
        if known.down:
            return crashed.epoch == known.epoch
        return await self._is_silent(known) and self._is_same(known)

    async def _is_silent(self, server: Server) -> bool:
        """Probe ``server``, once for all who ask; False also where news of it comes first."""
        vm, epoch = server.vm, server.epoch
        probe = self._probes.get((vm, epoch))
        if probe is None:
            target = Endpoint(vm, server.address, server.port).target
            # Of the service, not of this call, which may be cancelled while others wait for the same probe.
            probe = self._tasks.start(self._probe(target, PROBE_S), name=f"probe-{vm}")
            self._probes[vm, epoch] = probe
            probe.add_done_callback(lambda _: self._probes.pop((vm, epoch), None))
        while not probe.done() and self._is_same(server):
            # A report of its crash, or its successor, says more than the probe: wait for the first of them.
            await first_of(asyncio.wait((probe,)), self._changed.wait())
        return probe.done() and not probe.result()

    def _is_same(self, server: Server) -> bool:
        """Tell whether the table still has this very incarnation, alive."""
        now = self._table.servers.get(server.vm)
        return now is not None and not now.down and now.epoch == server.epoch

    def _set(self, table: tables.Table) -> None:
        before, self._table = self._table, table
        if before.available != table.available:
            log.info("available: %s (was %s)", table.available, before.available)
        if _is_news(before, table):
            self._changed.set()
            self._changed = asyncio.Event()
            self._exchange.news()

    def _give(self, server: Server, now_s: float) -> server_pb2.ServerInfo:
        self._table = tables.count_offer(self._table, server.vm, now_s)
        return info_of(self._table, server, now_s)


def _is_news(before: tables.Table, after: tables.Table) -> bool:
    """Tell whether waiting clients and other routers must hear of a change now: of all but plain renewals."""
    if (before.available, before.claim) != (after.available, after.claim):
        return True
    if before.servers.keys() != after.servers.keys():
        return True
    pairs = ((before.servers[vm], server) for vm, server in after.servers.items())
    return any(_life(old) != _life(new) for old, new in pairs if old is not new)


def _life(server: Server) -> tuple[Epoch, bool, bool, bool, int]:
    return server.epoch, server.down, server.suspect, server.leaving, server.claim
