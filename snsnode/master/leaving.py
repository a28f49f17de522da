"""How a server's clients leave it: at a drain, which an operator wants for long, and before a planned end.

The routers hear first, so that whoever asks is sent elsewhere; then the clients are told to move, which they do
without a failed call. They are told only while a router has another server for them.
"""

import asyncio
import logging
import time

from snsnode.master.registration import Registration
from snsnode.node import intent
from snsnode.node.paths import VmDir
from snsnode.observe import events
from snsnode.observe.journal import Journal
from snsnode.social.service import SocialService

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5  # at the operator's mark
TELL_EVERY_S = 1.0  # those that could not move yet are told again
MOVE_WITHIN_S = 3.0  # a planned end waits so long for its clients
MOVE_LOOK_S = 0.02
ASK_EVERY_S = 0.3  # whether there is still another server, while clients move


class Leaving:
    """Moves the clients of ``social`` away while the operator's mark stands, or when we are about to end."""

    def __init__(self, vm_dir: VmDir, registration: Registration, social: SocialService, journal: Journal) -> None:
        self._vm_dir = vm_dir
        self._registration = registration
        self._social = social
        self._journal = journal
        self._told_s: float | None = None  # when the clients were told to move; None: they may stay
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
        drained = intent.is_drained(self._vm_dir) or self._registration.ending
        took = None
        if drained != self._registration.leaving:
            kind = events.Drained if drained else events.Undrained
            self._journal.write(kind(clients=self._social.clients))
            took = await (self._registration.leave() if drained else self._registration.stay())
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
        before, began_s = self._social.clients, time.monotonic()
        asked_s, until_s = began_s, began_s + MOVE_WITHIN_S
        await self._registration.leave(ending=True)
        while self._social.clients and self._registration.may_move and time.monotonic() < until_s:
            self._tell_clients()
            await asyncio.sleep(MOVE_LOOK_S)
            if time.monotonic() - asked_s > ASK_EVERY_S:
                asked_s = time.monotonic()
                await self._registration.leave(ending=True)
        if before:
            took_ms = round((time.monotonic() - began_s) * 1000, 1)
            self._journal.write(events.Moved(clients=before, left=self._social.clients, took_ms=took_ms))

    def _tell_clients(self) -> None:
        now_s = time.monotonic()
        if not self._registration.may_move:
            if self._told_s is not None:
                self._social.announce_leaving(False)
            self._told_s = None
        elif self._told_s is None or now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._social.announce_leaving(True)
