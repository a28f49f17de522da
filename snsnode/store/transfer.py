"""What moving a store into another one is made of: the tables in an order of their own, and the plan of the way.

Called by ``control.store_copy`` and by the engines' sides of it. An engine takes part as a ``Source``, a
``Target`` or both; they exchange plain rows, so that any engine can be copied into any other. Logins are left
behind: they expire within seconds, and their clients log in again.

The plan is pure. A ``Position`` says how far a copy has come; it is stored in the target in the same transaction
as the rows that lead to it, so a copy that is killed at any moment goes on where its last transaction ended.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from snsnode.base.ids import Epoch, PostId, VmName

CHUNK_ROWS = 2_000  # with texts of 4 KiB some 8 MiB

Row = tuple[str | int, ...]


class Table(NamedTuple):
    """A table, its columns, and the first ones of ``key``, by which its rows are ordered and found.

    Texts are ordered by their bytes; those in keys are ASCII.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def key_of(self, row: Row) -> Row:
        """Return a row's key; the columns of the key stand in the order of ``key``."""
        return tuple(row[self.columns.index(column)] for column in self.key)


# Users first: an engine may insist that whoever posts or follows exists.
TABLES = (
    Table("users", ("username", "created_at_ms"), ("username",)),
    Table("posts", ("id", "author", "posted_at_ms", "text", "request_id"), ("id",)),
    Table("follows", ("follower", "followee", "after_id"), ("follower", "followee")),
    Table("requests", ("username", "request_id", "kind", "target", "at_ms"), ("username", "request_id")),
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds: rows by table, the highest id ever given to a post, and each server's epoch."""

    rows: tuple[int, ...]  # as TABLES
    last_post_id: PostId
    epochs: tuple[tuple[VmName, Epoch], ...]  # by VM

    @property
    def is_empty(self) -> bool:
        """Whether nothing of users is there; epochs alone do no harm."""
        return not any(self.rows)

    def text(self) -> str:
        """Return all of it as a line of text, by which a source is known again."""
        return json.dumps([self.rows, self.last_post_id, self.epochs])

    def may_be_copy_of(self, origin: str) -> bool:
        """Tell whether as much is here as in the source whose ``text`` is ``origin``; the rows tell the rest."""
        rows, last_post_id, _ = json.loads(origin)
        return (list(self.rows), self.last_post_id) == (rows, last_post_id)


@dataclass(frozen=True, slots=True)
class Position:
    """Tables before number ``table`` are copied, and of that one the ``done`` rows up to the key ``after``."""

    table: int = 0
    after: Row = ()  # (): none yet
    done: int = 0

    @property
    def is_end(self) -> bool:
        """Whether there is no more table."""
        return self.table >= len(TABLES)

    def text(self) -> str:
        """Return it as it is stored."""
        return json.dumps([self.table, self.after, self.done])


END = Position(len(TABLES))


def position(text: str) -> Position:
    """Return what ``Position.text`` wrote."""
    table, after, done = json.loads(text)
    return Position(table, tuple(after), done)


def following(here: Position, rows: Sequence[Row], limit: int = CHUNK_ROWS) -> Position:
    """Return where a copy is after ``rows``, which were read at ``here`` with ``limit``.

    Fewer rows than the limit are the table's last ones.
    """
    if len(rows) < limit:
        return Position(here.table + 1)
    return Position(here.table, TABLES[here.table].key_of(rows[-1]), here.done + len(rows))


def digest(rows: Sequence[Row]) -> str:
    """Return a digest of rows and their order."""
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def difference(table: Table, ours: Sequence[Row], theirs: Sequence[Row]) -> Row | None:
    """Return the key of the first row in which a chunk differs between two stores, None where it does not.

    ``ours`` and ``theirs`` are the rows that each has from one key on, in order.
    """
    if digest(ours) == digest(theirs):
        return None
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            return min(table.key_of(one), table.key_of(other))
    longer = ours if len(ours) > len(theirs) else theirs
    return table.key_of(longer[min(len(ours), len(theirs))])


class Source(Protocol):
    """A store that is read from end to end. Nobody can write to it meanwhile, where its engine can see to that."""

    async def contents(self) -> Contents:
        """Return what it holds."""

    async def rows(self, table: Table, after: Row, limit: int) -> list[Row]:
        """Return at most ``limit`` rows with keys above ``after`` (``()``: from the first), in order."""

    async def close(self) -> None:
        """Let it go; safe to call twice."""


class Target(Source, Protocol):
    """A store that is filled. Until ``finish`` no server opens it: it is marked in the same transaction."""

    async def begin(self, origin: str, *, from_scratch: bool) -> Position:
        """Mark it as being filled from the source whose ``Contents.text`` is ``origin``; return where to go on.

        ``from_scratch`` removes what an earlier copy left unfinished; what was not brought by a copy is never
        removed. One that may be complete already, because a copy ended without hearing so, is not marked: the end
        is returned, and what is left to do is to compare.

        Raises:
            NotAllowed: it holds something else, or an unfinished copy of a source that has changed.
        """

    async def add(self, rows: Sequence[Row], here: Position, there: Position) -> None:
        """Add the rows that were read at ``here`` and note ``there``, in one durable transaction.

        Raises:
            NotAllowed: it is no longer at ``here``: another copy fills it, too.
        """

    async def finish(self, contents: Contents) -> None:
        """Take the mark away, in one durable transaction with what keeps the future above the past.

        That is: the next post's id is above ``contents.last_post_id``, and each server's next epoch above its
        epoch in ``contents``, and above the one that was here. A target without a mark is left as it is.
        """
