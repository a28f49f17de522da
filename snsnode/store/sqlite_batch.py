"""One batch of the SQLite writer: many operations, one transaction, one fsync.

Called by ``sqlite_writer`` on its thread. The invariant: nothing leaves ``commit`` as done before COMMIT
returned, because COMMIT is what makes it durable.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import apsw

from snsnode.base.errors import Fenced, InvalidInput, SnsError, StoreFailed
from snsnode.base.ids import Epoch, VmName
from snsnode.store.sqlite_errors import reason
from snsnode.store.sqlite_writes import stored_epoch

# Errors that one row causes. Every other error of SQLite's (no room, busy, damage) is the whole batch's.
_ROW_ERRORS = (apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError, apsw.BindingsError)

_log = logging.getLogger(__name__)


class Incarnation(NamedTuple):
    """Who this store writes as."""

    vm: VmName
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Operation:
    """A queued write; ``claims`` names the server whose next epoch it claims, and such a one is not fenced."""

    run: Callable[[apsw.Connection], object]
    done: asyncio.Future[Any]
    claims: VmName | None = None


class Outcome(NamedTuple):
    """What an operation came to: its result, or why it failed."""

    operation: Operation
    result: object
    failure: SnsError | None = None


def commit(db: apsw.Connection, batch: Sequence[Operation], incarnation: Incarnation | None) -> list[Outcome]:
    """Run the batch in one transaction and return what became of each; they are durable.

    Raises:
        apsw.Error: the batch failed as a whole. ``roll_back`` must follow.
    """
    db.execute("BEGIN IMMEDIATE")
    fence = _fence(db, incarnation) if incarnation else None
    outcomes = [
        Outcome(operation, None, Fenced(fence)) if fence and not operation.claims else _attempt(db, operation)
        for operation in batch
    ]
    db.execute("COMMIT")
    return outcomes


def roll_back(db: apsw.Connection) -> None:
    """Leave the transaction, if SQLite has not left it already."""
    try:
        if db.in_transaction:
            db.execute("ROLLBACK")
    except apsw.Error as error:
        _log.error("rolling back a failed batch failed: %s", reason(error))


def _fence(db: apsw.Connection, incarnation: Incarnation) -> str | None:
    """Return why this incarnation may not write, None where it may; true while the write lock is held."""
    newest = stored_epoch(db, incarnation.vm)
    if newest <= incarnation.epoch:
        return None
    return (
        f"cannot write as epoch {incarnation.epoch} of {incarnation.vm}: epoch {newest} has replaced it; "
        "this process must end"
    )


def _attempt(db: apsw.Connection, operation: Operation) -> Outcome:
    """Run one operation in a savepoint of its own, so that its failure takes back nothing else."""
    db.execute("SAVEPOINT operation")
    try:
        outcome = Outcome(operation, operation.run(db))
    except SnsError as refusal:
        outcome = Outcome(operation, None, refusal)
    except (*_ROW_ERRORS, ValueError, OverflowError) as error:
        outcome = Outcome(operation, None, InvalidInput(f"cannot store this: {error}"))
    except apsw.Error:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary: a fault is its caller's, not the batch's
        _log.exception("a write of the store failed unexpectedly", extra={"cause": "write"})
        outcome = Outcome(operation, None, StoreFailed(f"cannot write to the store: {error!r}"))
    if outcome.failure is not None:
        db.execute("ROLLBACK TO operation")
    db.execute("RELEASE operation")
    return outcome
