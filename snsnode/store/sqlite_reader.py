"""Reader threads: each owns a read-only connection and answers one read at a time.

Called by ``sqlite``. Readers never wait for the writer, and go on where it is refused for want of room.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import apsw

from snsnode.base.errors import SnsError, StoreFailed, Unavailable
from snsnode.store.sqlite_errors import read_error
from snsnode.store.sqlite_file import close

QUEUE_MAX = 4096  # reads waiting; a read takes some 0.1 ms, so the last of them waits well below a second

_T = TypeVar("_T")
_Answer = tuple[object, SnsError | None]


@dataclass(frozen=True, slots=True)
class _Read:
    run: Callable[[apsw.Connection], object]
    done: asyncio.Future[Any]


class Readers:
    """A few threads behind one bounded queue."""

    def __init__(self, connections: Sequence[apsw.Connection]) -> None:
        """Take over ``connections`` and start a thread for each; call it from the event loop."""
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Read | None] = SimpleQueue()
        self._closed = False
        self._ended = [self._loop.create_future() for _ in connections]
        for number, (db, ended) in enumerate(zip(connections, self._ended, strict=True)):
            # Daemons: a program that forgets to close the store can still end.
            threading.Thread(
                target=self._serve, args=(db, ended), name=f"store-reader-{number}", daemon=True
            ).start()

    async def read(self, run: Callable[[apsw.Connection], _T]) -> _T:
        """Run ``run`` on a reader's thread and return what it returns.

        Raises:
            Unavailable: the store is closed, or locked by another process, or ``QUEUE_MAX`` reads are waiting.
            StoreFailed: the read failed.
        """
        if self._closed:
            raise Unavailable("cannot read the store: it is closed; ask another server")
        if self._queue.qsize() >= QUEUE_MAX:
            raise Unavailable(
                f"cannot read the store: {QUEUE_MAX} reads are waiting already; try again in a moment"
            )
        read = _Read(run, self._loop.create_future())
        self._queue.put(read)
        result: _T = await read.done
        return result

    async def close(self) -> None:
        """Answer what is queued, then close the connections; safe to call twice."""
        if not self._closed:
            self._closed = True
            for _ in self._ended:
                self._queue.put(None)
        for ended in self._ended:
            await asyncio.shield(ended)

    def _serve(self, db: apsw.Connection, ended: asyncio.Future[None]) -> None:
        try:
            while (read := self._queue.get()) is not None:
                self._loop.call_soon_threadsafe(_settle, read, _answer(db, read))
            close(db)
            self._loop.call_soon_threadsafe(ended.set_result, None)
        except RuntimeError:
            close(db)  # The event loop is gone: nobody is left to be answered.


def _answer(db: apsw.Connection, read: _Read) -> _Answer:
    try:
        return read.run(db), None
    except apsw.Error as error:
        return None, read_error(error)
    except Exception as error:  # noqa: BLE001 - the boundary: it belongs to the caller, not to this thread
        failure = StoreFailed(f"cannot read the store: {error!r}")
        failure.__cause__ = error
        return None, failure


def _settle(read: _Read, answer: _Answer) -> None:
    result, failure = answer
    if read.done.done():
        return  # The caller was cancelled.
    if failure is not None:
        read.done.set_exception(failure)
    else:
        read.done.set_result(result)
