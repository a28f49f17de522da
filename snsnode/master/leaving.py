"""How a server's clients leave it: at a drain, which an operator wants for long, and before a planned end.

The routers hear first, so that whoever asks is sent elsewhere; then the clients are told to move, which they do
without a failed call. They are told only while a router has another server for them.
"""

import asyncio
import logging
import time

from snsnode.master import departure
from snsnode.master.departure import LOOK_EVERY_S, MOVE_LOOK_S, End, Notice
from snsnode.master.registration import Registration
from snsnode.node import intent
from snsnode.node.paths import VmDir
from snsnode.observe import events
from snsnode.observe.journal import Journal
from snsnode.social.service import SocialService

log = logging.getLogger(__name__)


class Leaving:
    """Moves the clients of ``social`` away while the operator's mark stands, or when we are about to end."""

    def __init__(self, vm_dir: VmDir, registration: Registration, social: SocialService, journal: Journal) -> None:
        self._vm_dir = vm_dir
        self._registration = registration
        self._social = social
        self._journal = journal
        self._notice = Notice()
        self._asking = False  # the routers whether we may end
        registration.begin(leaving=intent.is_drained(vm_dir))

    async def run(self) -> None:
        """Follow the operator's mark until cancelled."""
        while True:
            try:
                await self.look()
            except OSError as error:  # the mark cannot be read now: what it said last stands
                log.warning("cannot look whether this server is drained: %s; trying again", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> int | None:
        """Do what the mark says; return how many routers took a change, None where there was none."""
        if self._asking:
            return None
        drained, known = intent.is_drained(self._vm_dir), self._registration
        leaves = departure.turn(drained=drained, ending=known.ending, leaving=known.leaving)
        took = None
        if leaves is not None:
            kind = events.Drained if leaves else events.Undrained
            self._journal.write(kind(clients=self._social.clients))
            took = await (self._registration.leave() if leaves else self._registration.stay())
        self._tell_clients()
        return took

    async def may_end(self) -> bool:
        """Tell whether a router has another server for our clients.

        To find out, we leave. Where we may end, we have left; where we do not end after all, the next look at the
        mark brings us back.
        """
        stays = not self._registration.leaving
        self._asking = True
        try:
            await self._registration.leave()
            if not self._registration.may_move and stays:
                await self._registration.stay()
        finally:
            self._asking = False
        return self._registration.may_move

    async def end(self) -> None:
        """Leave for good: return when the clients have moved, or cannot, at most after ``MOVE_WITHIN_S``."""
        before, end = self._social.clients, End.at(time.monotonic())
        await self._registration.leave(ending=True)
        while self._waits(end):
            self._tell_clients()
            await asyncio.sleep(MOVE_LOOK_S)
            asked = end.ask(time.monotonic())
            if asked is not None:
                end = asked
                await self._registration.leave(ending=True)
        if before:
            took_ms = round((time.monotonic() - end.began_s) * 1000, 1)
            self._journal.write(events.Moved(clients=before, left=self._social.clients, took_ms=took_ms))

    def _waits(self, end: End) -> bool:
        may_move, now_s = self._registration.may_move, time.monotonic()
        return end.waits(clients=self._social.clients, may_move=may_move, now_s=now_s)

    def _tell_clients(self) -> None:
        may_move = self._registration.may_move
        self._notice, leaving = self._notice.tell(may_move=may_move, now_s=time.monotonic())
        if leaving is not None:
            self._social.announce_leaving(leaving)
