"""The keeper of a client's one link: acts for the retry machine, and holds the login open.

Made by ``Client`` for one ``async with``; every call and timeline of the client shares it, so whoever finds the
link broken, one search serves all. Its task owns every other task; nothing outlives ``stop``.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

from snsnode.base.errors import DeadlineExceeded, NotAllowed, SnsError, Unavailable
from snsnode.client import retry
from snsnode.client.asking import ask_router
from snsnode.client.events import Connected, Event, Reconnecting
from snsnode.client.link import Link
from snsnode.client.moves import (
    Action,
    Answered,
    Ask,
    AskFailed,
    Begun,
    Drop,
    Enter,
    EnterFailed,
    Happened,
    Leaving,
    LoggedIn,
    Lost,
    Queued,
    Refuse,
    Server,
    Slow,
    Staying,
    StopAsking,
    Tick,
    Use,
    Wake,
    Wanted,
)
from snsnode.client.turns import Turns, turns
from snsnode.rpc import social_pb2

log = logging.getLogger(__name__)

LOGOUT_S = 2.0  # leaving takes at most so long, with or without a server
RETIRE_S = 3.0  # calls over a link that was left gently are answered within this, or repeated over the new one
LOGINS_MAX = 4  # at a time, of one process at one server: more only wait in the server, and look slow
SETTLE_S = 1.0  # a login's turn ends at the latest so long after it


class Keeper:
    """Keeps one link to the available server, logged in as ``caller``."""

    def __init__(
        self, routers: tuple[str, ...], caller: social_pb2.Caller, on_event: Callable[[Event], None] | None
    ) -> None:
        self._caller = caller
        self._on_event = on_event
        self._state = retry.State(routers)
        self._link: Link | None = None  # in use; None while there is none to use
        self._links: set[Link] = set()  # every open one, the one in use included
        self._retiring: dict[Link, asyncio.Task[None]] = {}
        self._candidate: Link | None = None  # logged in, not yet in use
        self._waiters: set[asyncio.Future[Link]] = set()
        self._asks: set[asyncio.Task[None]] = set()
        self._entry: asyncio.Task[None] | None = None
        self._entering: Server | None = None  # whom the last entry is, or was, about
        self._settling: set[asyncio.Task[None]] = set()  # entries that have their link in use already
        self._session: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._told: Server | None = None  # the last one that Reconnecting named
        self._group: asyncio.TaskGroup | None = None
        self._leaving = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self.closed = False
        self.asked_to_log_in = False  # a server was: it may have done so although no answer came

    async def start(self) -> None:
        """Start the keeper's task; the search starts with the first ``link``."""
        started = asyncio.Event()
        self._main = asyncio.create_task(self._run(started), name="sns-client")
        await started.wait()

    async def stop(self) -> None:
        """Log out, within ``LOGOUT_S``, and end everything; never raises because no server is there.

        Who is cancelled meanwhile still logs out, for the name shall be free; a second cancellation cuts it off.
        """
        assert self._main is not None
        self._leaving.set()
        try:
            # wait() does not cancel what it waits for; what the task raised is ours to raise, and only that.
            await asyncio.wait((self._main,))
        except asyncio.CancelledError:
            try:
                await asyncio.wait((self._main,))
            finally:
                self._main.cancel()  # nothing, where it has ended
                await asyncio.wait((self._main,))
            raise
        if not self._main.cancelled() and (error := self._main.exception()) is not None:
            raise error

    async def link(self) -> Link:
        """Return the link in use, or wait for one.

        Raises:
            SnsError: the login was refused; ``NotAllowed`` after ``stop``.
        """
        if self._link is not None:
            return self._link
        if self._group is None or self.closed:
            raise NotAllowed("cannot call: this client has logged out; use it inside 'async with'")
        waiter: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            self._step(Wanted())
            return await waiter
        finally:
            self._waiters.discard(waiter)

    def lost(self, link: Link, error: SnsError) -> None:
        """Report that ``link`` broke; what is known already changes nothing."""
        if link is self._link:
            self._step(Lost(error))

    def slow(self, link: Link) -> None:
        """Report that a call over ``link`` takes long."""
        if link is self._link and not self._leaving.is_set():
            self._step(Slow())

    def tried(self) -> str:
        """Name who was tried, and how each failed."""
        return retry.tried(self._state)

    async def _run(self, started: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                started.set()
                await self._leaving.wait()
                await self._log_out()
                self._cancel_children()
        finally:
            self.closed = True
            self._link = None
            self._cancel_children()
            self._refuse(Unavailable("cannot call: this client is leaving"))
            for link in tuple(self._links):
                await self._close(link)

    def _cancel_children(self) -> None:
        for task in (*self._asks, *self._settling, *self._retiring.values(), self._entry, self._session):
            if task is not None:
                task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def _log_out(self) -> None:
        """Free the name, if it was ever ours.

        The session is no longer watched: its end, which is near, must not start a login that would take the
        name again. A login under way is waited for, for the same reason.
        """
        if self._session is None:
            return
        self._session.cancel()
        request = social_pb2.LogoutRequest(caller=self._caller)
        try:
            async with asyncio.timeout(LOGOUT_S):
                while True:
                    if self._entry is not None and not self._entry.done():
                        await asyncio.wait((self._entry,))
                    link = await self.link()
                    try:
                        await link.call(link.stub.Logout, request, LOGOUT_S / 3)
                        return
                    except (Unavailable, DeadlineExceeded) as error:
                        self.lost(link, error)
        except (SnsError, TimeoutError) as error:
            log.debug("cannot log out %s: %s", self._caller.username, error)

    # --- the machine's hands --------------------------------------------------------------------------------

    def _step(self, event: Happened) -> None:
        self._state, actions = retry.step(self._state, event, time.monotonic(), random.random())
        for action in actions:
            self._act(action)

    def _act(self, action: Action) -> None:
        match action:
            case Ask():
                task = self._spawn(self._ask(action), f"sns-ask-{self._state.routers[action.router]}")
                self._asks.add(task)
                task.add_done_callback(self._asks.discard)
            case StopAsking():
                for task in self._asks:
                    task.cancel()
            case Enter():
                self._give_up_entry()
                self._announce(action.server)
                self._entering = action.server
                self._entry = self._spawn(self._enter(action), f"sns-login-{action.server.target}")
            case Use():
                self._use(action.gently)
            case Drop():
                self._link = None
            case Refuse():
                self._refuse(action.error)
            case Wake():
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = asyncio.get_running_loop().call_at(action.at, self._step, Tick())

    async def _ask(self, ask: Ask) -> None:
        target = self._state.routers[ask.router]
        try:
            server = await ask_router(target, self._caller, ask.unreachable, ask.full, self._queued, self._begun)
        except SnsError as error:
            self._step(AskFailed(ask.router, error.message))
        else:
            self._step(Answered(ask.router, server))

    async def _enter(self, enter: Enter) -> None:
        link: Link | None = None
        try:
            async with _logins(enter.server).turn(self._queued, self._begun, (Unavailable,)):
                link = Link(enter.server)
                self._links.add(link)
                request = social_pb2.LoginRequest(caller=self._caller)
                self.asked_to_log_in = True
                await link.call(link.stub.Login, request, enter.timeout_s)
                self._candidate = link
                self._step(LoggedIn(enter.server))
                if self._link is link and not self._leaving.is_set():
                    await self._settle(link)
        except SnsError as error:
            self._step(EnterFailed(enter.server, error))
        finally:
            if link is not None:
                if self._candidate is link:
                    self._candidate = None
                if self._link is not link:
                    await self._close(link)

    async def _settle(self, link: Link) -> None:
        """Keep the turn while the server opens our streams: that is as much work for it as the login."""
        task = asyncio.current_task()
        assert task is not None
        self._entry = None  # done, as far as anybody waits for it or would end it
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        await link.settled(SETTLE_S)

    def _give_up_entry(self) -> None:
        """End a login under way, for there is a better server; who waits to log in there shall ask again, too."""
        if self._entry is None or self._entry.done() or self._entry is asyncio.current_task():
            return
        self._entry.cancel()
        assert self._entering is not None
        _logins(self._entering).fail(Unavailable("it took no login in time"))

    def _queued(self) -> None:
        self._step(Queued())

    def _begun(self) -> None:
        self._step(Begun())

    def _use(self, gently: bool) -> None:
        """Put the link that was just entered to use; whoever still waits on another is told by its closing."""
        link = self._link = self._candidate
        assert link is not None
        for old in self._links - self._retiring.keys() - {link}:
            if gently:
                self._retiring[old] = self._spawn(self._retire(old), f"sns-retire-{old.server.target}")
            else:
                self._spawn(self._close(old), "sns-close")
        if self._session is not None:
            self._session.cancel()
        if not self._leaving.is_set():
            self._session = self._spawn(self._watch(link), f"sns-session-{link.server.target}")
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(link)
        self._told = None
        self._tell(Connected(link.server.host, link.server.port))

    async def _watch(self, link: Link) -> None:
        """Hold the login open; when it breaks, look for a server at once, so that the name stays ours."""
        error: SnsError = Unavailable("the server ended the session")
        try:
            async for notice in link.session(self._caller):
                link.settle()
                if link is self._link:
                    self._step(Leaving() if notice.leaving else Staying())
        except SnsError as broken:
            error = broken
        link.settle()
        self.lost(link, error)

    def _refuse(self, error: SnsError) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(type(error)(error.message))

    async def _retire(self, link: Link) -> None:
        try:
            await link.retire(RETIRE_S)
        finally:
            self._retiring.pop(link, None)
            await self._close(link)

    async def _close(self, link: Link) -> None:
        self._links.discard(link)
        await link.close()

    def _announce(self, server: Server) -> None:
        """Say whom the client turns to: once for each server, and not for the very first or a planned move."""
        if self._session is not None and server != self._told and not self._state.leaving:
            self._told = server
            self._tell(Reconnecting(server.host, server.port))

    def _tell(self, event: Event) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            log.exception("a client's on_event failed at %s", event)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        assert self._group is not None
        return self._group.create_task(work, name=name)


def _logins(server: Server) -> Turns:
    return turns("log in", server.target, LOGINS_MAX)
