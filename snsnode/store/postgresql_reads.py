"""The reads of the PostgreSQL engine: one statement each, so each is one snapshot.

Called by the engine's store. A few tasks read, each with a connection of its own, from one bounded queue; a caller
that leaves does not disturb the read it asked for.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from snsnode.base.errors import SnsError, StoreFailed, Unavailable
from snsnode.base.ids import PostId, UserName
from snsnode.store.postgresql_connect import Connector
from snsnode.store.postgresql_errors import DRIVER_ERRORS, final_error
from snsnode.store.postgresql_session import PATIENCE_S, Session
from snsnode.store.protocol import History, Page, Post
from snsnode.store.statements import statements

READERS = 4  # connections: a long read holds up one of them
QUEUE_MAX = 4096

_SQL = statements("postgresql")


class Readers:
    """The tasks that read."""

    def __init__(self, connector: Connector) -> None:
        """Start them; call it from the event loop. Each connects when it first reads."""
        self._queue: asyncio.Queue[_Read | None] = asyncio.Queue()
        self._closed = False
        self._tasks = [
            asyncio.create_task(self._serve(Session(connector, "read")), name=f"store-reader-{number}")
            for number in range(READERS)
        ]

    async def fetch(self, name: str, *arguments: Any) -> list[Any]:
        """Return the rows of a statement.

        Raises:
            Unavailable, Exhausted, StoreFailed: as every read.
        """
        if self._closed:
            raise Unavailable("cannot read the store: it is closed; ask another server")
        if self._queue.qsize() >= QUEUE_MAX:
            raise Unavailable(
                f"cannot read the store: {QUEUE_MAX} reads are waiting already; try again in a moment"
            )
        read = _Read(_SQL[name], arguments)
        self._queue.put_nowait(read)
        return await read.rows

    async def close(self) -> None:
        """Answer what is queued, then close the connections; safe to call twice."""
        if not self._closed:
            self._closed = True
            for _ in self._tasks:
                self._queue.put_nowait(None)
        await asyncio.shield(asyncio.gather(*self._tasks))

    async def _serve(self, session: Session) -> None:
        try:
            while (read := await self._queue.get()) is not None:
                await read.answer(session)
        finally:
            await session.close()


class _Read:
    def __init__(self, sql: str, arguments: tuple[Any, ...]) -> None:
        self.rows: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._sql = sql
        self._arguments = arguments
        self._give_up_at_s = time.monotonic() + PATIENCE_S

    async def answer(self, session: Session) -> None:
        """Read; whatever happens, the caller has an answer."""
        if self.rows.done():
            return
        failure: SnsError
        try:
            rows = await session.run(lambda db: db.fetch(self._sql, *self._arguments), self._give_up_at_s)
        except SnsError as error:
            failure = error
        except DRIVER_ERRORS as error:
            failure = final_error(error, "read")
        except Exception as error:  # noqa: BLE001 - the boundary of the task: it must outlive any fault
            failure = StoreFailed(f"cannot read the store: {error!r}")
        else:
            if not self.rows.done():
                self.rows.set_result(rows)
            return
        if not self.rows.done():
            self.rows.set_exception(failure)


def page(rows: Sequence[Any], limit: int) -> Page:
    """Return a page of ``limit`` names; one row more than that was asked for."""
    return Page(tuple(UserName(row[0]) for row in rows[:limit]), more=len(rows) > limit)


def history(rows: Sequence[Any]) -> History:
    """Return the history: each row has the highest id first, and is a post, or without one."""
    posts = tuple(Post(*row[1:]) for row in rows if row[1] is not None)
    return History(posts, PostId(rows[0][0]))


def posts(rows: Sequence[Any]) -> list[Post]:
    """Return posts as they came."""
    return [Post(*row) for row in rows]
