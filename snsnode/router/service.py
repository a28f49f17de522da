"""The router's servicer: thin around the table; lets clients wait for a server, probes what they report.

It takes words only about servers of the spec. What comes from such a server's own machine counts. What comes from
elsewhere is a hint, and the router asks the server itself (``asking``): so a server with several addresses can
register, and other callers change nothing.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from snsnode.base.errors import Denied, Unavailable
from snsnode.base.ids import Epoch, VmName, shown
from snsnode.node.config import Endpoint, NodeConfig
from snsnode.pair.tasks import Tasks, first_of
from snsnode.router import table as tables
from snsnode.router.asking import Ask, Asking, own_word, who_is
from snsnode.router.exchange import Exchange
from snsnode.router.flapping import NEVER_S
from snsnode.router.merge import merge, unsure
from snsnode.router.peer import Machines
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
PROBE_S = 0.3  # a server that does not answer within this is unreachable for clients too


class RouterService(router_pb2_grpc.RouterServicer):
    """Serves one table.

    ``probe`` asks a target whether it serves, within a time; ``ask`` asks a server who it is.
    """

    def __init__(
        self,
        config: NodeConfig,
        members: Members,
        probe: Callable[[str, float], Coroutine[Any, Any, bool]],
        ask: Ask = who_is,
    ) -> None:
        self._config = config
        self._probe = probe
        self._changed = asyncio.Event()
        self._started_s = time.monotonic()
        self._table = tables.Table(
            members=tables.members_of(members.servers), selection=config.selection, started_s=self._started_s
        )
        self._waiting = 0
        self._machines = Machines()
        self._asking = Asking(ask)
        self._refusals = Refusals()
        self._crashes: dict[VmName, tuple[Epoch, float]] = {}  # the last report of each server's own machine
        self._unsure: dict[VmName, None] = {}  # another router told of them; to be asked
        self._is_unsure = asyncio.Event()
        self._exchange = Exchange(config, members.routers, self._told, self._hear, self._machines)
        self._probes: dict[tuple[VmName, Epoch], asyncio.Task[bool]] = {}
        self._tasks = Tasks()

    async def RegisterServer(  # noqa: N802
        self, request: server_pb2.ServerInfo, context: Any
    ) -> server_pb2.KeepAliveReply:
        """Take or renew a registration."""
        server, confirmed = self._of_spec(server_of(request), "register"), False
        refusal = tables.refused(self._table, server, confirmed=True)
        if refusal is None:
            is_own = await self._machines.is_from(context.peer(), server.address)
            if not is_own or tables.is_doubtful(self._table, server):
                server, confirmed = await self._confirmed(server, is_own=is_own), True
        return self._register(server, confirmed=confirmed)

    async def Crash(  # noqa: N802
        self, request: server_pb2.ServerInfo, context: Any
    ) -> server_pb2.KeepAliveReply:
        """Remove a dead server; its own machine knows, what another one says is only a hint."""
        server = self._of_spec(server_of(request), "report the crash of")
        is_own = await self._machines.is_from(context.peer(), server.address)
        known, epoch = self._table.servers.get(server.vm), server.epoch
        if is_own:
            self._crashes[server.vm] = (epoch, time.monotonic())
        if is_own or known is None or epoch < known.epoch or (known.down and epoch == known.epoch):
            table, verdict = tables.crash(self._table, server.vm, epoch, time.monotonic())
        else:
            table, verdict = await self._hinted(server)
        if table is not self._table:
            log.info("crash of %s, epoch %d: %s", server.vm, epoch, verdict.message)
        elif not verdict.accepted:
            self._refusals.note(Cause.OLD, f"a crash of {server.vm}: {verdict.message}")
        self._set(table)
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
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._expire(), name="leases")
                group.create_task(self._asking.run(), name="asking")
                group.create_task(self._ask_unsure(), name="unsure")
        finally:
            await self._tasks.close()

    async def exchange(self) -> None:
        """Exchange with the other routers until cancelled."""
        await self._exchange.run()

    def update(self, members: Members) -> None:
        """Go by this spec from now on: forget servers that are not in it, and exchange with its routers."""
        before, after = self._table.members, tables.members_of(members.servers)
        if before != after:
            gone, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
            log.info("the spec has %d servers now; new: %s; gone: %s", len(after), _list(new), _list(gone))
            self._set(tables.admit(self._table, after, time.monotonic()))
            self._crashes = {vm: crash for vm, crash in self._crashes.items() if vm in after}
        places = (*members.servers, *members.routers)
        self._machines.forget(frozenset(place.address for place in places))
        self._asking.forget(members.servers)
        self._exchange.update(members.routers)

    def _of_spec(self, server: Server, verb: str) -> Server:
        """Return ``server`` with its address as the spec spells it: a name has a thousand spellings to look up.

        Raises:
            Denied: the spec does not have it at this place.
        """
        member = self._table.members.get(server.vm)
        if member is not None and tables.is_member(self._table, server):
            return replace(server, address=member.address)
        where = f"{server.vm} at {server.address}:{server.port}"
        has = f"has it at {member.target}" if member is not None else "has no such server"
        self._refusals.note(Cause.STRANGER, f"{verb} {where}: the spec {has}")
        raise Denied(
            f"cannot {verb} {where}: the spec that this router knows {has}; edit the spec, and run "
            f"'snsctl generate' for {self._config.vm} too: the router takes the new list by itself"
        )

    def _register(self, server: Server, *, confirmed: bool) -> server_pb2.KeepAliveReply:
        lease_s = self._config.keepalive.silence_s
        if tables.believed(self._table, server.claim, tables.CLAIM_LEAP_CONFIRMED) != server.claim:
            self._refusals.note(Cause.CLAIM, f"claim {server.claim} of {server.vm}; it counts for nothing")
        table, verdict = tables.register(self._table, server, lease_s, time.monotonic(), confirmed=confirmed)
        known = self._table.servers.get(server.vm)
        if verdict.accepted and (known is None or known.epoch != server.epoch or known.down):
            log.info("registered %s at %s:%d, epoch %d", server.vm, server.address, server.port, server.epoch)
        elif not verdict.accepted:
            self._refusals.note(Cause.OLD, f"a registration: {verdict.message}")
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

    async def _confirmed(self, server: Server, *, is_own: bool) -> Server:
        """Ask the server itself, and return its word.

        Raises:
            Unavailable: it does not answer.
            Denied: it has another epoch than it is said to have.
        """
        place, asked_s = self._table.members[server.vm], time.monotonic()
        reply = await self._asking.answer(place)
        if reply is None or self._has_crashed(server.vm, reply.epoch, asked_s):
            self._refusals.note(Cause.UNCONFIRMED, f"{server.vm}, epoch {server.epoch}: {place.target} is silent")
            raise Unavailable(
                f"cannot register {server.vm}: it does not answer at {place.target}, as the spec has it; try again"
            )
        if reply.epoch != server.epoch:
            self._refusals.note(Cause.UNCONFIRMED, f"epoch {server.epoch} of {server.vm}: it is {reply.epoch}")
            raise Denied(
                f"cannot register epoch {server.epoch} of {server.vm}: at {place.target} it answers with epoch "
                f"{reply.epoch}"
            )
        return self._own_word(place, reply, server if is_own else None)

    def _own_word(self, place: Endpoint, reply: server_pb2.KeepAliveReply, said: Server | None = None) -> Server:
        """Return what a server says of itself; what one of an older version leaves out is ``said`` or known."""
        word = own_word(place, reply)
        if word is not None:
            return word
        known = self._table.servers.get(place.vm)
        if said is None and known is not None and known.epoch == reply.epoch:
            said = known
        if said is None:
            return Server(place.vm, place.address, place.port, Epoch(reply.epoch))
        return said

    def _has_crashed(self, vm: VmName, epoch: int, since_s: float) -> bool:
        """Tell whether its own machine reported, since it was asked, that a server had crashed."""
        crashed, at_s = self._crashes.get(vm, (Epoch(0), NEVER_S))
        return at_s >= since_s and crashed >= epoch

    async def _hinted(self, crashed: Server) -> tuple[tables.Table, tables.Verdict]:
        """Look at a server whose crash another machine reports; doubt it where it is silent.

        Raises:
            Denied: it answers, or the report is not of the incarnation that is known.
        """
        known = self._table.servers[crashed.vm]
        is_known = not known.down and known.epoch == crashed.epoch
        is_silent = is_known and await self._is_silent(known)
        if is_known and not self._is_same(known):
            now = self._table.servers.get(crashed.vm, known)
            return self._table, tables.Verdict(False, now.epoch, "reported by another machine; news came first")
        if not is_silent:
            self._refusals.note(Cause.ELSEWHERE, f"a crash of {crashed.vm}, epoch {crashed.epoch}")
            raise Denied(
                f"cannot take a crash of {crashed.vm}, epoch {crashed.epoch}: it was reported by another machine, "
                "and is not confirmed by a probe"
            )
        table = tables.suspect(self._table, crashed.vm, crashed.epoch, time.monotonic())
        return table, tables.Verdict(False, known.epoch, "reported by another machine: it is silent, and doubted")

    async def _expire(self) -> None:
        while True:
            self._set(tables.expire(self._table, time.monotonic()))
            await asyncio.sleep(EXPIRE_EVERY_S)

    async def _ask_unsure(self) -> None:
        """Ask the servers that another router told of, all at once, and take their own word."""
        while True:
            await self._is_unsure.wait()
            self._is_unsure.clear()
            asked, self._unsure = list(self._unsure), {}
            await asyncio.gather(*(self._take_own_word(vm) for vm in asked))

    async def _take_own_word(self, vm: VmName) -> None:
        place, asked_s = self._table.members.get(vm), time.monotonic()
        reply = await self._asking.answer(place) if place is not None else None
        if place is None or reply is None or self._has_crashed(vm, reply.epoch, asked_s):
            return
        server = self._own_word(place, reply)
        if tables.refused(self._table, server, confirmed=True) is None:
            self._register(server, confirmed=True)

    async def _wait_for_server(self, request: router_pb2.ClientConnect, until_s: float) -> server_pb2.ServerInfo:
        full = frozenset(VmName(told.vm) for told in request.full[:FULL_MAX])
        while True:
            changed, now_s = self._changed, time.monotonic()
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
        self._set(merge(self._table, news, lease_s, time.monotonic()))
        self._unsure |= dict.fromkeys(unsure(self._table, news))
        if self._unsure:
            self._is_unsure.set()

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


def _list(names: list[VmName]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"
