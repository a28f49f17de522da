"""The writer thread of the SQLite engine: group commit, and the watch for posts.

Called by ``sqlite``. While one COMMIT waits for the disk the next operations gather in the queue, and all of
them share the next COMMIT. The event loop hears of a batch by one call.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from enum import Enum, auto
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

import apsw

from snsnode.base.errors import SnsError, StoreFailed, Unavailable
from snsnode.base.ids import Epoch, VmName, shown
from snsnode.store.protocol import Posted
from snsnode.store.sqlite_batch import Incarnation, Operation, Outcome, commit, roll_back
from snsnode.store.sqlite_errors import write_error
from snsnode.store.sqlite_file import close, identity
from snsnode.store.sqlite_watch import PERIOD_S, CommitWatch

BATCH_MAX = 256  # operations in one transaction: beyond it the fsync's share of each is small already
QUEUE_MAX = 4096  # writes waiting; with texts of 4 KiB some 16 MiB, and below a second of work

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class _Signal(Enum):
    WAKE = auto()  # the watch began
    STOP = auto()  # the last entry of the queue


class Writer:
    """The one thread that writes, and its bounded queue."""

    def __init__(self, db: apsw.Connection, commits: CommitWatch, batch_max: int) -> None:
        """Take over ``db`` and the watch over it, and start the thread; call it from the event loop."""
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Operation | _Signal] = SimpleQueue()
        self._closed = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._watchers: dict[object, Callable[[], None]] = {}
        # What follows belongs to the thread.
        self._db = db
        self._path = Path(db.filename)
        self._identity = identity(self._path)
        self._batch_max = batch_max
        self._incarnation: Incarnation | None = None
        # While a claim has failed, why: what we write then might look like a replaced incarnation's.
        self._unsettled: type[SnsError] | None = None
        self._commits = commits
        self._stopping = False
        self._refusing = False
        # A daemon: a program that forgets to close the store can still end.
        threading.Thread(target=self._serve, name="store-writer", daemon=True).start()

    async def write(self, run: Callable[[apsw.Connection], _T], claims: VmName | None = None) -> _T:
        """Run ``run`` in the next batch and return its result once that is durable.

        ``claims`` names the server whose next epoch ``run`` returns.

        Raises:
            SnsError: what ``run`` raised, and nothing of it was stored; or what every write may raise.
        """
        if self._closed:
            raise Unavailable("cannot write to the store: it is closed; ask another server")
        if self._queue.qsize() >= QUEUE_MAX:
            raise Unavailable(
                f"cannot write to the store: {QUEUE_MAX} writes are waiting already; try again in a moment"
            )
        operation = Operation(run, self._loop.create_future(), claims)
        self._queue.put(operation)
        result: _T = await operation.done
        return result

    def watch(self, on_posts: Callable[[], None]) -> Callable[[], None]:
        """As ``Store.watch``. The file is polled only while somebody watches."""
        key = object()
        self._watchers[key] = on_posts
        self._queue.put(_Signal.WAKE)

        def end() -> None:
            self._watchers.pop(key, None)

        return end

    async def close(self) -> None:
        """Write what is queued, then close the connection; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._watchers.clear()
            self._queue.put(_Signal.STOP)
        await asyncio.shield(self._ended)

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        for operation, result, failure in outcomes:
            if operation.done.done():
                continue  # The caller was cancelled; what it wrote stays written.
            if failure is not None:
                operation.done.set_exception(failure)
            else:
                operation.done.set_result(result)
        if any(isinstance(outcome.result, Posted) for outcome in outcomes):
            self._hint()

    def _hint(self) -> None:
        for on_posts in self._watchers.values():
            self._loop.call_soon(on_posts)

    # --- on the thread --------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._stopping:
                if batch := self._take():
                    self._tell(self._settle, self._write(batch))
                if self._watchers and self._commits.found_posts():
                    self._tell(self._hint)
            close(self._db)
            self._tell(self._ended.set_result, None)
        except _LoopGone:
            close(self._db)

    def _take(self) -> list[Operation]:
        """Wait for an operation and return it with those queued behind it; [] after a signal or a period."""
        try:
            first = self._queue.get(timeout=PERIOD_S if self._watchers else None)
        except Empty:
            return []
        return self._gather(first)

    def _gather(self, first: Operation | _Signal = _Signal.WAKE) -> list[Operation]:
        batch: list[Operation] = []
        entry = first
        while True:
            if isinstance(entry, Operation):
                batch.append(entry)
            self._stopping |= entry is _Signal.STOP
            if len(batch) == self._batch_max or self._queue.empty():
                return batch
            entry = self._queue.get_nowait()  # This thread is the only one that takes.

    def _write(self, batch: list[Operation]) -> list[Outcome]:
        """Commit the batch; whatever happens, every operation has an outcome."""
        if self._unsettled and not all(operation.claims for operation in batch):
            return self._refused(batch, self._unsettled)
        try:
            self._check_file()
            outcomes = commit(self._db, batch, self._incarnation)
        except apsw.Error as error:
            return self._failed(batch, write_error(error))
        except SnsError as failure:
            return self._failed(batch, failure)
        except Exception as error:  # noqa: BLE001 - the thread's boundary: it must outlive any fault
            return self._failed(batch, StoreFailed(f"cannot write to the store: {error!r}"))
        for outcome in outcomes:
            if outcome.operation.claims and outcome.failure is None:
                self._incarnation = Incarnation(outcome.operation.claims, cast(Epoch, outcome.result))
                self._unsettled = None
        if self._refusing:
            self._refusing = False
            _log.warning("the store at %s takes writes again", self._path)
        return outcomes

    def _refused(self, batch: list[Operation], why: type[SnsError]) -> list[Outcome]:
        """Refuse all but the claims of the batch."""
        text = "cannot write to the store: this server's claim of an epoch is not settled; try again"
        refused = [Outcome(operation, None, why(text)) for operation in batch if not operation.claims]
        claims = [operation for operation in batch if operation.claims]
        return [*refused, *(self._write(claims) if claims else ())]

    def _check_file(self) -> None:
        """Refuse to acknowledge into a file that lost its name: nobody would ever find the posts."""
        if identity(self._path) != self._identity:
            raise StoreFailed(
                f"cannot write to the store: its file {shown(str(self._path), 200)} was removed or replaced "
                "while open; restart this server"
            )

    def _failed(self, batch: list[Operation], failure: SnsError) -> list[Outcome]:
        roll_back(self._db)
        if not self._refusing:
            self._refusing = True
            _log.error("the store at %s refuses writes: %s", self._path, failure.message)
        if any(operation.claims for operation in batch):
            self._unsettled = type(failure)
        if isinstance(failure, Unavailable):
            # Those behind have waited too; trying them batch by batch would hold the last for minutes.
            while rest := self._gather():
                batch += rest
        return [Outcome(operation, None, type(failure)(failure.message)) for operation in batch]

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            raise _LoopGone from None  # The loop was closed before the store: nobody is left to be answered.


class _LoopGone(Exception):
    pass
