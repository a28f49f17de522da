"""The router's servicer: thin around the table; lets clients wait for a server, and tells others of the table.

It takes words only about servers of the spec, and only those that ``belief`` lets pass.
"""

import asyncio
import contextlib
import logging
import time
from typing import Any

from snsnode.base.errors import Denied, Unavailable
from snsnode.base.ids import Epoch, VmName, shown
from snsnode.node.config import NodeConfig
from snsnode.router import table as tables
from snsnode.router.asking import Ask, who_is
from snsnode.router.belief import Belief, Probe
from snsnode.router.exchange import Exchange
from snsnode.router.merge import merge, unsure
from snsnode.router.peer import Machines
from snsnode.router.present import Present
from snsnode.router.refusals import Cause, Refusals
from snsnode.router.spec import Members
from snsnode.router.table import Server
from snsnode.router.wire import STATES, info_of, server_of, told_of
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2

log = logging.getLogger(__name__)

EXPIRE_EVERY_S = 0.1
WAIT_MAX_S = 2.0  # a client waits at most so long in one Connect
WAITING_MAX = 10_000  # clients that wait at once; more are told to come again
FULL_MAX = 64  # servers that a client may say are full


class RouterService(router_pb2_grpc.RouterServicer):
    """Serves one table.

    ``probe`` asks a target whether it serves, within a time; ``ask`` asks a server who it is.
    """

    def __init__(
        self,
        config: NodeConfig,
        members: Members,
        probe: Probe,
        ask: Ask = who_is,
    ) -> None:
        self._config = config
        self._started_s = time.monotonic()
        self._waiting = 0
        self._machines = Machines()
        self._refusals = Refusals()
        self._exchange = Exchange(config, members.routers, self._told, self._hear, self._machines)
        table = tables.Table(
            members=tables.members_of(members.servers), selection=config.selection, started_s=self._started_s
        )
        self._present = Present(table, self._exchange.news)
        self._belief = Belief(config.vm, self._present, self._refusals, probe, ask, self._take_own_word)

    @property
    def _table(self) -> tables.Table:
        return self._present.table

    async def RegisterServer(  # noqa: N802
        self, request: server_pb2.ServerInfo, context: Any
    ) -> server_pb2.KeepAliveReply:
        """Take or renew a registration."""
        server, confirmed = self._belief.of_spec(server_of(request), "register"), False
        refusal = tables.refused(self._table, server, confirmed=True)
        if refusal is None:
            is_own = await self._machines.is_from(context.peer(), server.address)
            if not is_own or tables.is_doubtful(self._table, server):
                server, confirmed = await self._belief.confirmed(server, is_own=is_own), True
        return self._register(server, confirmed=confirmed)

    async def Crash(  # noqa: N802
        self, request: server_pb2.ServerInfo, context: Any
    ) -> server_pb2.KeepAliveReply:
        """Remove a dead server; its own machine knows, what another one says is only a hint."""
        server = self._belief.of_spec(server_of(request), "report the crash of")
        is_own = await self._machines.is_from(context.peer(), server.address)
        if is_own:
            self._belief.note_crash(server.vm, server.epoch)
        if is_own or not self._would_count(server):
            table, verdict = tables.crash(self._table, server.vm, server.epoch, time.monotonic())
        else:
            table, verdict = await self._hinted(server)
        if table is not self._table:
            log.info("crash of %s, epoch %d: %s", server.vm, server.epoch, verdict.message)
        elif not verdict.accepted:
            self._refusals.note(Cause.OLD, f"a crash of {server.vm}: {verdict.message}")
        self._present.set(table)
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
                await self._belief.check(VmName(request.unreachable.vm), Epoch(request.unreachable.epoch))
            return await self._wait_for_server(request, until_s)
        finally:
            self._waiting -= 1

    async def Exchange(  # noqa: N802
        self, request: router_pb2.TableReply, context: Any
    ) -> router_pb2.TableReply:
        """Take another router's table, and answer with ours."""
        if not await self._exchange.knows(request.vm, context.peer()):
            self._refusals.note(Cause.STRANGER, f"a table of {shown(request.vm)} from {shown(context.peer())}")
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

    @property
    def refusals(self) -> dict[Cause, int]:
        """How many words were not taken, for each cause."""
        return dict(self._refusals.counts)

    async def run(self) -> None:
        """Watch the leases, and ask servers that others told of, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._expire(), name="leases")
            group.create_task(self._belief.run(), name="belief")

    async def exchange(self) -> None:
        """Exchange with the other routers until cancelled."""
        await self._exchange.run()

    def update(self, members: Members) -> None:
        """Go by this spec from now on: forget servers that are not in it, and exchange with its routers."""
        before, after = self._table.members, tables.members_of(members.servers)
        if before != after:
            gone, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
            log.info("the spec has %d servers now; new: %s; gone: %s", len(after), _list(new), _list(gone))
            self._present.set(tables.admit(self._table, after, time.monotonic()))
        places = (*members.servers, *members.routers)
        self._machines.forget(frozenset(place.address for place in places))
        self._belief.forget(members.servers)
        self._exchange.update(members.routers)

    def _register(self, server: Server, *, confirmed: bool) -> server_pb2.KeepAliveReply:
        server = self._belief.of_spec(server, "register")  # again: the spec may have lost it meanwhile
        lease_s = self._config.keepalive.silence_s
        if tables.believed(self._table, server.claim, tables.CLAIM_LEAP_CONFIRMED) != server.claim:
            self._refusals.note(Cause.CLAIM, f"claim {server.claim} of {server.vm}; it counts for nothing")
        table, verdict = tables.register(self._table, server, lease_s, time.monotonic(), confirmed=confirmed)
        known = self._present.known(server.vm)
        if verdict.accepted and (known is None or known.epoch != server.epoch or known.down):
            log.info("registered %s at %s:%d, epoch %d", server.vm, server.address, server.port, server.epoch)
        elif not verdict.accepted:
            self._refusals.note(Cause.OLD, f"a registration: {verdict.message}")
        self._present.set(table)
        mine = self._present.known(server.vm)
        return server_pb2.KeepAliveReply(
            accepted=verdict.accepted,
            message=verdict.message,
            epoch=verdict.epoch,
            lease_ms=round(lease_s * 1000),
            state=STATES[self._table.state_of(mine)] if mine is not None else server_pb2.SERVER_STATE_UNSPECIFIED,
            claim=self._table.claim,
            granted_claim=mine.claim if mine is not None else 0,
        )

    def _take_own_word(self, server: Server) -> None:
        self._register(server, confirmed=True)

    def _would_count(self, crashed: Server) -> bool:
        """Tell whether a report of this crash would change anything."""
        known = self._present.known(crashed.vm)
        return known is not None and (crashed.epoch, False) >= (known.epoch, known.down)

    async def _hinted(self, crashed: Server) -> tuple[tables.Table, tables.Verdict]:
        """Look at a server whose crash another machine reports; doubt it where it is silent.

        Raises:
            Denied: it answers, or the report is not of the incarnation that is known.
        """
        is_silent = await self._belief.is_hint_true(crashed)
        now = self._present.known(crashed.vm)
        if not is_silent or now is None:
            epoch = now.epoch if now is not None else crashed.epoch
            return self._table, tables.Verdict(False, epoch, "reported by another machine; news came first")
        table = tables.suspect(self._table, crashed.vm, crashed.epoch, time.monotonic())
        return table, tables.Verdict(False, now.epoch, "reported by another machine: it is silent, and doubted")

    async def _expire(self) -> None:
        while True:
            self._present.set(tables.expire(self._table, time.monotonic()))
            await asyncio.sleep(EXPIRE_EVERY_S)

    async def _wait_for_server(self, request: router_pb2.ClientConnect, until_s: float) -> server_pb2.ServerInfo:
        full = frozenset(VmName(told.vm) for told in request.full[:FULL_MAX])
        while True:
            changed, now_s = self._present.changed, time.monotonic()
            server = self._table.offer(now_s, full)
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
        news = told_of(told, at_s)
        self._present.set(merge(self._table, news, lease_s, time.monotonic()))
        self._belief.ask_later(unsure(self._table, news))

    def _is_reported(self, server: Server, request: router_pb2.ClientConnect) -> bool:
        """Tell whether ``server`` is the very one that this client, and our probe, could not reach."""
        reported = request.unreachable
        return server.suspect and (server.vm, server.epoch) == (reported.vm, reported.epoch)

    def _give(self, server: Server, now_s: float) -> server_pb2.ServerInfo:
        self._present.table = tables.count_offer(self._table, server.vm, now_s)
        return info_of(self._table, server, now_s)


def _list(names: list[VmName]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"
