"""The clients of one event loop take turns: a few at a time ask one router, and a few log in at one server.

Called by ``keeper``. A process may hold hundreds of clients, and all lose the same server in the same instant. If
all turned to a router at once, each of them would be slow enough to look dead to the others; a few at a time
are as fast in sum. Turns are given in the order of asking.

Those who wait share the fate of those who go: where one finds nobody there, the others are told the same
instead of finding out for themselves, one after the other.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from weakref import WeakKeyDictionary

from snsnode.base.errors import SnsError

Tell = Callable[[], None]


class Turns:
    """At most ``most`` at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def idle(self) -> bool:
        """Whether nobody goes and nobody waits."""
        return not self._taken and not self._waiting

    @asynccontextmanager
    async def turn(self, queued: Tell, begun: Tell, shared: tuple[type[SnsError], ...]) -> AsyncIterator[None]:
        """Have a turn for the block; where it must be waited for, ``queued`` is called, and ``begun`` after it.

        Raises:
            SnsError: while waiting, an error of a class in ``shared`` that another's block raised.
        """
        await self._take(queued, begun)
        try:
            yield
        except shared as error:
            self.fail(error)
            raise
        finally:
            self._give_back()

    def fail(self, error: SnsError) -> None:
        """Tell everybody who waits that it is in vain."""
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(type(error)(error.message))

    async def _take(self, queued: Tell, begun: Tell) -> None:
        if self._taken < self._most:
            self._taken += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        queued()
        try:
            await waiter
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back()  # the turn came just as we left
            raise
        begun()

    def _give_back(self) -> None:
        """Pass the turn to who waits longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._taken -= 1


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], Turns]] = WeakKeyDictionary()


def turns(what: str, target: str, most: int) -> Turns:
    """Return the turns of this event loop for doing ``what`` at ``target``; idle ones are forgotten."""
    known = _of_loop.setdefault(asyncio.get_running_loop(), {})
    for key in [key for key, value in known.items() if value.idle and key != (what, target)]:
        del known[key]
    return known.setdefault((what, target), Turns(most))
