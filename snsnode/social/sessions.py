"""Who is logged in at this server, and whose lease is to be renewed.

Called by the servicer. ``Sessions`` is pure: the time is passed in, the store is not seen. A login lives here
while it has an open stream or was used lately; then it is dropped and its row in the store runs out, so a dead
client is forgotten ``LEASE_S`` after its last renewal, which is at most ``RENEW_EVERY_S`` after its last sign.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from snsnode.base.errors import AlreadyDone, Exhausted, Fenced, Full, SessionLost, SnsError
from snsnode.base.ids import UserName
from snsnode.social.fence import Fence
from snsnode.social.outage import Outage
from snsnode.store.protocol import Login, Store

LEASE_S = 4.0
RENEW_EVERY_S = 1.0
SESSIONS_MAX = 10_000
OF_ONE_ADDRESS_MAX = 1_000  # logins from one address, but for loopback
# Where the server is full, a login that has opened no stream and made no call for so long makes room for another.
LEFT_S = 1.0
SWEEP_EVERY_S = 0.1
TIMELINES_MAX = 8  # of one login; more is a client that forgets to close them
# Of one login, in flight: a quarter of what the store lets wait, so that no one login can take all of that.
CALLS_MAX = 1024


class Stream(Protocol):
    """An open stream of a login, as seen from here."""

    def end(self, error: SnsError) -> None:
        """Let the stream's client have ``error``, soon; the first call counts."""


class Link(Stream, Protocol):
    """A login's Session stream."""

    def tell(self, leaving: bool) -> None:
        """Let the client know whether this server leaves; what it has not read yet is replaced."""


@dataclass(eq=False, slots=True)
class ClientSession:
    """One login; times are monotonic."""

    login: Login
    logged_in_s: float
    used_s: float  # the last call, or the end of its last stream
    to_renew: bool = True  # used since the last renewal
    link: Link | None = None  # its Session stream
    left: bool = False  # its streams have ended and it was not used since: it moved, logged out or died
    timelines: list[Stream] = field(default_factory=list)
    calls: int = 0  # in flight
    address: str | None = None  # None: of this machine, which has no bound of its own

    def streams(self) -> Iterator[Stream]:
        """Yield what is open."""
        if self.link is not None:
            yield self.link
        yield from self.timelines


class Sessions:
    """The table of logins: one a user name."""

    def __init__(self) -> None:
        self._by_name: dict[UserName, ClientSession] = {}
        self._of_address: Counter[str] = Counter()  # logins, and those that are coming
        self._coming = 0  # logins that the store has not answered
        self._swept_s = float("-inf")
        self._leaving = False

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def present(self) -> int:
        """How many are here: those that moved to another server, or died, are not, though their names linger."""
        return sum(not session.left for session in self._by_name.values())

    def announce_leaving(self, on: bool) -> None:
        """Tell every client, and those who come from now on, to move to another server, or that it may stay."""
        self._leaving = on
        for session in self._by_name.values():
            if session.link is not None:
                session.link.tell(on)

    @contextmanager
    def room_for(self, login: Login, address: str | None, now_s: float) -> Iterator[None]:
        """Keep room for a login while the store is asked, in which time others come, too.

        Raises:
            Full: there is none.
        """
        if login.username not in self._by_name:
            self._check_room(login, address, now_s)
        self._coming += 1  # a login that is here now may be gone by then, and its room taken
        self._count(address, 1)
        try:
            yield
        finally:
            self._coming -= 1
            self._count(address, -1)

    def _check_room(self, login: Login, address: str | None, now_s: float) -> None:
        if len(self) + self._coming >= SESSIONS_MAX:
            self._sweep(now_s)
        if len(self) + self._coming >= SESSIONS_MAX:
            raise Full(f"cannot log in {login.username}: this server has {SESSIONS_MAX} clients, its limit")
        if address is not None and self._of_address[address] >= OF_ONE_ADDRESS_MAX:
            raise Full(
                f"cannot log in {login.username}: {OF_ONE_ADDRESS_MAX} clients of your address are logged in, the "
                "limit of one address"
            )

    def is_taken(self, login: Login) -> bool:
        """Tell whether another client has the name at this server."""
        known = self._by_name.get(login.username)
        return known is not None and known.login != login

    def add(self, login: Login, now_s: float, address: str | None = None) -> None:
        """Note a login that the store granted at ``now_s``; another client of that name lost it."""
        known = self._by_name.get(login.username)
        if known is not None and known.login == login:
            known.logged_in_s = known.used_s = now_s
            known.left = False
            return
        if known is not None:
            self._forget(known)
            self._end(known)
        self._by_name[login.username] = ClientSession(login, now_s, now_s, address=address)
        self._count(address, 1)

    def use(self, login: Login, now_s: float) -> ClientSession:
        """Return the session of a caller, and keep it alive.

        Raises:
            SessionLost: this server does not have it.
        """
        session = self._by_name.get(login.username)
        if session is None or session.login != login:
            raise SessionLost(f"cannot serve {login.username}: not logged in at this server; log in first")
        session.used_s = now_s
        session.to_renew = True
        session.left = False
        return session

    def begin_call(self, session: ClientSession) -> None:
        """Count a call; ``end_call`` must follow.

        Raises:
            Exhausted: the login has ``CALLS_MAX`` in flight; nothing was counted.
        """
        if session.calls >= CALLS_MAX:
            raise Exhausted(
                f"cannot serve {session.login.username}: {CALLS_MAX} calls of this login are in flight; send more "
                "when they are answered"
            )
        session.calls += 1

    def end_call(self, session: ClientSession) -> None:
        """Count a call as answered."""
        session.calls -= 1

    def open_link(self, session: ClientSession, stream: Link) -> None:
        """Attach the Session stream; the newer one counts, for a client reconnects before we see its death."""
        if session.link is not None:
            session.link.end(AlreadyDone("cannot keep this session stream: the same login opened a newer one"))
        session.link = stream
        if self._leaving:
            stream.tell(True)

    def open_timeline(self, session: ClientSession, stream: Stream) -> None:
        """Attach a timeline; the oldest ends where there are too many."""
        if len(session.timelines) >= TIMELINES_MAX:
            oldest = session.timelines.pop(0)
            oldest.end(
                Exhausted(f"cannot keep this timeline: one login may have {TIMELINES_MAX}, and opened newer ones")
            )
        session.timelines.append(stream)

    def close(self, session: ClientSession, stream: Stream, now_s: float) -> None:
        """Detach a stream that has ended. This is no use of the login, so it is not renewed for it."""
        if session.link is stream:
            session.link = None
            session.left = True
        if stream in session.timelines:
            session.timelines.remove(stream)
        session.used_s = max(session.used_s, now_s)

    def remove(self, login: Login) -> None:
        """Forget a login and end its streams."""
        session = self._by_name.get(login.username)
        if session is not None and session.login == login:
            self._forget(session)
            self._end(session)

    def to_renew(self) -> tuple[Login, ...]:
        """Return the logins that are alive: with an open stream, or used since they were last renewed."""
        return tuple(
            session.login
            for session in self._by_name.values()
            if session.to_renew or session.link is not None or session.timelines
        )

    def renewed(self, asked: Iterable[Login], lost: frozenset[Login], asked_s: float) -> None:
        """Take the store's answer to a renewal that was sent at ``asked_s``."""
        for login in asked:
            session = self._by_name.get(login.username)
            # Who logged in since then has its name by a later word of the store than this one.
            if session is None or session.login != login or session.logged_in_s > asked_s:
                continue
            if login in lost:
                self.remove(login)
            elif session.used_s <= asked_s:
                session.to_renew = False

    def drop_idle(self, now_s: float) -> None:
        """Forget those without a stream that were not used for ``LEASE_S``: their clients left or died."""
        self._drop_unused(now_s, LEASE_S)

    def _sweep(self, now_s: float) -> None:
        """Make room, at the cost of those that seem to have left; not at every login of a flood."""
        if now_s - self._swept_s >= SWEEP_EVERY_S:
            self._swept_s = now_s
            self._drop_unused(now_s, LEFT_S)

    def _drop_unused(self, now_s: float, for_s: float) -> None:
        for session in tuple(self._by_name.values()):
            held = session.link is not None or session.timelines or session.calls
            if not held and now_s - session.used_s > for_s:
                self._forget(session)

    def _forget(self, session: ClientSession) -> None:
        del self._by_name[session.login.username]
        self._count(session.address, -1)

    def _count(self, address: str | None, by: int) -> None:
        if address is not None:
            self._of_address[address] += by
            if not self._of_address[address]:
                del self._of_address[address]

    def _end(self, session: ClientSession) -> None:
        for stream in tuple(session.streams()):
            stream.end(SessionLost(f"cannot go on as {session.login.username}: this login has ended"))


async def keep_leases(sessions: Sessions, store: Store, fence: Fence) -> None:
    """Renew what lives, all in one batch each ``RENEW_EVERY_S``, until cancelled."""
    outage = Outage("renew the logins")
    while True:
        asked_s = time.monotonic()
        await _renew(sessions, store, fence, outage)
        await asyncio.sleep(max(0.0, asked_s + RENEW_EVERY_S - time.monotonic()))


async def _renew(sessions: Sessions, store: Store, fence: Fence, outage: Outage) -> None:
    asked, asked_s = sessions.to_renew(), time.monotonic()
    try:
        lost = await store.renew(asked, LEASE_S) if asked else frozenset()
    except Fenced as error:
        fence.trip(error)
    except Exception as error:  # noqa: BLE001 - the boundary of the task
        # A full disk or a store that is away logs nobody out: their names run out, but nobody can take them
        # where nothing can be written, and an expired lease is renewed like any other.
        outage.failed(error)
    else:
        outage.over()
        sessions.renewed(asked, lost, asked_s)
        sessions.drop_idle(time.monotonic())
