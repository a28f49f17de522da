"""The watch for posts that other processes committed: LISTEN, as a hint.

Called by the engine's store. One connection listens while somebody watches. What it misses while it reconnects is
caught up with by one hint as soon as it listens again; whoever watches looks by itself each second, too.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from snsnode.base.errors import SnsError, Unavailable
from snsnode.store.postgresql_connect import Connector
from snsnode.store.postgresql_errors import DRIVER_ERRORS
from snsnode.store.postgresql_session import Session

CHANNEL = "sns_posts"
PING_EVERY_S = 1.0  # a listener never asks anything: only so does it notice that its server hangs
RETRY_S = 0.1

_log = logging.getLogger(__name__)


class Listener:
    """Calls the watchers when the database tells of posts."""

    def __init__(self, connector: Connector) -> None:
        self._session = Session(connector, "listen to")
        self._watchers: dict[object, Callable[[], None]] = {}
        self._task: asyncio.Task[None] | None = None

    def watch(self, on_posts: Callable[[], None]) -> Callable[[], None]:
        """As ``Store.watch``."""
        key = object()
        self._watchers[key] = on_posts
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="store-listener")

        def end() -> None:
            self._watchers.pop(key, None)

        return end

    def hint(self) -> None:
        """Call the watchers soon."""
        for on_posts in tuple(self._watchers.values()):
            asyncio.get_running_loop().call_soon(on_posts)

    async def close(self) -> None:
        """Stop listening; safe to call twice."""
        self._watchers.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._session.close()

    async def _serve(self) -> None:
        failing = False
        while True:
            try:
                lost = await self._listen()
                if failing:
                    _log.warning("the store tells of posts again")
                failing = False
                await self._stay(lost)
            except Exception as error:  # noqa: BLE001 - the boundary of the task: it must outlive any fault
                self._session.drop()
                if not failing:
                    expected = isinstance(error, (SnsError, *DRIVER_ERRORS))
                    _log.warning(
                        "the store does not tell of posts, looking each second: %s", error, exc_info=not expected
                    )
                failing = True
                await asyncio.sleep(RETRY_S)

    async def _listen(self) -> asyncio.Event:
        """Listen, and return what is set when that ends."""
        lost = asyncio.Event()
        connection = await self._session.open()
        connection.add_termination_listener(lambda _: lost.set())
        await self._session.run(lambda db: db.add_listener(CHANNEL, self._heard), time.monotonic())
        self.hint()
        return lost

    async def _stay(self, lost: asyncio.Event) -> None:
        """Listen on.

        Raises:
            Unavailable: the connection was lost.
        """
        while not lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_EVERY_S):
                    await lost.wait()
            if not lost.is_set():
                await self._session.run(lambda db: db.execute("SELECT 1"), time.monotonic())
        raise Unavailable("the connection was lost")

    def _heard(self, *_: Any) -> None:
        self.hint()
