"""Group commit for PostgreSQL: many callers, one call of a database function, one commit.

Called by the engine's store. Two lanes, each with a connection of its own: posts, which wait for each other's
ids, and everything else. Within a lane a batch follows the other, and the caller is answered when its batch is
durable. A batch whose outcome is unknown is repeated as it is: each of its operations is safe to repeat.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from snsnode.base.errors import InvalidInput, SnsError, StoreFailed, Unavailable
from snsnode.base.ids import Epoch, VmName
from snsnode.store.postgresql_errors import DRIVER_ERRORS, Kind, fenced, final_error, kind, row_error
from snsnode.store.postgresql_session import PATIENCE_S, Session

BATCH_MAX = 256  # operations in one transaction: beyond it the commit's share of each is small already
QUEUE_MAX = 4096  # operations waiting in a lane; with texts of 4 KiB some 16 MiB

_Row = TypeVar("_Row")
_Answer = object | SnsError


class Incarnation(NamedTuple):
    """Who this store writes as; without a VM it is not checked."""

    vm: VmName | None = None
    epoch: Epoch | None = None


# Sends a batch and returns an answer for each row, which may be the error of that row alone.
Send = Callable[[Any, Incarnation, Sequence[_Row]], Awaitable[Sequence[_Answer]]]


@dataclass(frozen=True, slots=True)
class _Operation(Generic[_Row]):
    row: _Row
    done: "asyncio.Future[Any]"
    since_s: float = field(default_factory=time.monotonic)


class Lane(Generic[_Row]):
    """A bounded queue, and the one task that writes what is in it."""

    def __init__(self, session: Session, send: Send[_Row], batch_max: int) -> None:
        """Start the task; call it from the event loop."""
        self.session = session
        self.gate = asyncio.Lock()  # held while a batch is under way
        self.incarnation = Incarnation()
        # False while nobody knows whether a claim was stored: what we write then might look like a replaced one's.
        self.settled = True
        self.unsettled: type[SnsError] = Unavailable  # why not: Exhausted where there was no room for the claim
        self._send = send
        self._batch_max = batch_max
        self._queue: deque[_Operation[_Row]] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._task = asyncio.create_task(self._serve(), name="store-lane")

    async def write(self, row: _Row) -> Any:
        """Write ``row`` with the next batch and return its answer once that is durable.

        Raises:
            SnsError: the answer is one, or the batch could not be written.
        """
        if self._closed:
            raise Unavailable("cannot write to the store: it is closed; ask another server")
        if len(self._queue) >= QUEUE_MAX:
            raise Unavailable(
                f"cannot write to the store: {QUEUE_MAX} writes are waiting already; try again in a moment"
            )
        operation = _Operation(row, asyncio.get_running_loop().create_future())
        self._queue.append(operation)
        self._wake.set()
        return await operation.done

    async def close(self) -> None:
        """Write what is queued, then close the connection; safe to call twice."""
        self._closed = True
        self._wake.set()
        await asyncio.shield(self._task)

    async def _serve(self) -> None:
        try:
            while self._queue or not self._closed:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                async with self.gate:
                    batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._batch_max))]
                    answers = await self._written(batch)
                    self._settle(batch, answers)
                    if any(isinstance(answer, Unavailable) for answer in answers):
                        self._give_up_overdue()
        finally:
            self._closed = True
            self._settle(self._queue, [Unavailable("cannot write to the store: it is closed")] * len(self._queue))
            await self.session.close()

    def _give_up_overdue(self) -> None:
        """Answer those behind whose patience is over, too: a try for each of their batches takes too long."""
        overdue: list[_Operation[_Row]] = []
        while self._queue and time.monotonic() - self._queue[0].since_s > PATIENCE_S:
            overdue.append(self._queue.popleft())
        text = f"cannot write to the store: it did not answer for {PATIENCE_S:g} s; try again"
        self._settle(overdue, [Unavailable(text) for _ in overdue])

    async def _written(self, batch: Sequence[_Operation[_Row]]) -> Sequence[_Answer]:
        """Return the answers, whatever happens."""
        if not self.settled:
            text = "cannot write to the store: this server's claim of an epoch is not settled; try again"
            return [self.unsettled(text) for _ in batch]
        rows = [operation.row for operation in batch]
        # Its own patience counts from when it was asked: those behind do not wait for all those before.
        give_up_at_s = max(batch[0].since_s + PATIENCE_S, time.monotonic())
        try:
            return await self.session.run(lambda db: self._send(db, self.incarnation, rows), give_up_at_s)
        except SnsError as error:
            failure = error
        except DRIVER_ERRORS as error:
            if kind(error) is Kind.ROW:
                return await self._apart(batch, row_error(error))
            vm, epoch = self.incarnation.vm or "", self.incarnation.epoch or 0
            failure = fenced(error, vm, epoch) or final_error(error, "write to")
        except Exception as error:  # noqa: BLE001 - the boundary of the task: it must outlive any fault
            failure = StoreFailed(f"cannot write to the store: {error!r}")
        return [type(failure)(failure.message) for _ in batch]

    async def _apart(self, batch: Sequence[_Operation[_Row]], error: InvalidInput) -> Sequence[_Answer]:
        """Write the halves of a batch in which some row is bad: that one fails alone, in few steps."""
        if len(batch) == 1:
            return [error]
        middle = len(batch) // 2
        return [*await self._written(batch[:middle]), *await self._written(batch[middle:])]

    def _settle(self, batch: "Sequence[_Operation[_Row]] | deque[_Operation[_Row]]", answers: Any) -> None:
        for operation, answer in zip(batch, answers, strict=True):
            if operation.done.done():
                continue  # The caller was cancelled; what it wrote stays written.
            if isinstance(answer, SnsError):
                operation.done.set_exception(answer)
            else:
                operation.done.set_result(answer)
