"""Whom the router believes: words of the spec's servers alone, hints only after a look at the server itself.

Called by ``service``. What comes from a server's own machine counts. What comes from elsewhere, and what leaps, is
a hint, and the router asks the server at the spec's address (``asking``) or probes it: so a server with several
addresses can register, and other callers change nothing.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from snsnode.base.errors import Denied, Unavailable
from snsnode.base.ids import Epoch, VmName
from snsnode.node.config import Endpoint
from snsnode.pair.tasks import Tasks, first_of
from snsnode.router import table as tables
from snsnode.router.asking import Ask, Asking, own_word
from snsnode.router.flapping import NEVER_S
from snsnode.router.present import Present
from snsnode.router.refusals import Cause, Refusals
from snsnode.router.table import Server
from snsnode.rpc import server_pb2

PROBE_S = 0.3  # a server that does not answer within this is unreachable for clients too
# Words from other machines that wait for a look at the server, at once: a quarter of the calls in flight that are
# kept for the cluster itself, or strangers could fill those by naming servers that are down.
HINTS_MAX = 256

Probe = Callable[[str, float], Coroutine[Any, Any, bool]]


class Belief:
    """Checks words before they reach the table; ``run`` must run.

    ``probe`` asks a target whether it serves, within a time; ``ask`` asks a server who it is. ``take`` is given
    each server that was asked because another router told of it, in its own words.
    """

    def __init__(
        self, vm: str, present: Present, refusals: Refusals, probe: Probe, ask: Ask, take: Callable[[Server], None]
    ) -> None:
        self._vm = vm
        self._present = present
        self._refusals = refusals
        self._probe = probe
        self._asking = Asking(ask)
        self._take = take
        self._crashes: dict[VmName, tuple[Epoch, float]] = {}  # the last report of each server's own machine
        self._unsure: dict[VmName, None] = {}  # another router told of them; to be asked
        self._is_unsure = asyncio.Event()
        self._probes: dict[tuple[VmName, Epoch], asyncio.Task[bool]] = {}
        self._hints = 0
        self._tasks = Tasks()

    async def run(self) -> None:
        """Ask servers until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._asking.run(), name="asking")
                group.create_task(self._ask_unsure(), name="unsure")
        finally:
            await self._tasks.close()

    def forget(self, servers: Iterable[Endpoint]) -> None:
        """Keep nothing of servers that are not of the spec any more."""
        kept = tuple(servers)
        vms = {endpoint.vm for endpoint in kept}
        self._crashes = {vm: crash for vm, crash in self._crashes.items() if vm in vms}
        self._asking.forget(kept)

    def of_spec(self, server: Server, verb: str) -> Server:
        """Return ``server`` with its address as the spec spells it: a name has a thousand spellings to look up.

        Raises:
            Denied: the spec does not have it at this place.
        """
        member = self._present.member(server.vm)
        if member is not None and tables.is_member(self._present.table, server):
            return replace(server, address=member.address)
        where = f"{server.vm} at {server.address}:{server.port}"
        has = f"has it at {member.target}" if member is not None else "has no such server"
        self._refusals.note(Cause.STRANGER, f"{verb} {where}: the spec {has}")
        raise Denied(
            f"cannot {verb} {where}: the spec that this router knows {has}; edit the spec, and run "
            f"'snsctl generate' for {self._vm} too: the router takes the new list by itself"
        )

    def note_crash(self, vm: VmName, epoch: Epoch) -> None:
        """Note that its own machine reported the crash of a server."""
        self._crashes[vm] = (epoch, time.monotonic())

    async def confirmed(self, server: Server, *, is_own: bool) -> Server:
        """Ask the server itself, and return its word.

        Raises:
            Unavailable: it does not answer; or too many words from other machines wait already.
            Denied: it has another epoch than it is said to have.
        """
        place = Endpoint(server.vm, server.address, server.port)
        with nullcontext() if is_own else self._hinting(server.vm):
            reply = await self._answer(place)
        if reply is None:
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

    async def is_hint_true(self, crashed: Server) -> bool:
        """Tell whether a server whose crash another machine reports is silent; False where news came first.

        Raises:
            Denied: it answers, or the report is not of the incarnation that is known.
            Unavailable: too many words from other machines wait already.
        """
        if self._present.has(crashed):
            with self._hinting(crashed.vm):
                is_silent = await self.is_silent(crashed)
            if not self._present.has(crashed):
                return False
            if is_silent:
                return True
        self._refusals.note(Cause.ELSEWHERE, f"a crash of {crashed.vm}, epoch {crashed.epoch}")
        raise Denied(
            f"cannot take a crash of {crashed.vm}, epoch {crashed.epoch}: it was reported by another machine, "
            "and is not confirmed by a probe"
        )

    @contextmanager
    def _hinting(self, vm: VmName) -> Iterator[None]:
        if self._hints >= HINTS_MAX:
            raise Unavailable(
                f"cannot check what another machine says of {vm}: {HINTS_MAX} such words wait already; try again"
            )
        self._hints += 1
        try:
            yield
        finally:
            self._hints -= 1

    async def check(self, vm: VmName, epoch: Epoch) -> None:
        """Probe a server that a client could not reach, once for many clients; doubt it if it is silent.

        One that registers meanwhile is slow, not silent: on a busy machine the probe waits where its clients do.
        """
        server = self._present.known(vm)
        if server is None or server.down or server.suspect or server.epoch != epoch:
            return
        asked_s = time.monotonic()
        if not await self.is_silent(server):
            return
        now = self._present.known(vm)
        if now is not None and now.heard_s < asked_s:
            self._present.set(tables.suspect(self._present.table, vm, epoch, time.monotonic()))

    async def is_silent(self, server: Server) -> bool:
        """Probe ``server``, once for all who ask; False also where news of it comes first."""
        vm, epoch = server.vm, server.epoch
        probe = self._probes.get((vm, epoch))
        if probe is None:
            target = Endpoint(vm, server.address, server.port).target
            # Of the service, not of this call, which may be cancelled while others wait for the same probe.
            probe = self._tasks.start(self._probe(target, PROBE_S), name=f"probe-{vm}")
            self._probes[vm, epoch] = probe
            probe.add_done_callback(lambda _: self._probes.pop((vm, epoch), None))
        while not probe.done() and self._present.has(server):
            # A report of its crash, or its successor, says more than the probe: wait for the first of them.
            await first_of(asyncio.wait((probe,)), self._present.changed.wait())
        return probe.done() and not probe.result()

    def ask_later(self, vms: Iterable[VmName]) -> None:
        """Ask the servers that another router told of, and take their own word."""
        self._unsure |= dict.fromkeys(vms)
        if self._unsure:
            self._is_unsure.set()

    async def _ask_unsure(self) -> None:
        while True:
            await self._is_unsure.wait()
            self._is_unsure.clear()
            asked, self._unsure = list(self._unsure), {}
            await asyncio.gather(*(self._take_own_word(vm) for vm in asked))

    async def _take_own_word(self, vm: VmName) -> None:
        place = self._present.member(vm)
        reply = await self._answer(place) if place is not None else None
        if place is None or reply is None:
            return
        server = self._own_word(place, reply)
        if tables.refused(self._present.table, server, confirmed=True) is None:
            self._take(server)

    async def _answer(self, place: Endpoint) -> server_pb2.KeepAliveReply | None:
        """Return a server's answer; None where it is silent, or its machine reported since that it had crashed."""
        asked_s = time.monotonic()
        reply = await self._asking.answer(place)
        crashed, at_s = self._crashes.get(place.vm, (Epoch(0), NEVER_S))
        return None if reply is None or (at_s >= asked_s and crashed >= reply.epoch) else reply

    def _own_word(self, place: Endpoint, reply: server_pb2.KeepAliveReply, said: Server | None = None) -> Server:
        """Return what a server says of itself; what one of an older version leaves out is ``said`` or known."""
        word = own_word(place, reply)
        if word is not None:
            return word
        known = self._present.known(place.vm)
        if said is None and known is not None and known.epoch == reply.epoch:
            said = known
        if said is None:
            return Server(place.vm, place.address, place.port, Epoch(reply.epoch))
        return said
