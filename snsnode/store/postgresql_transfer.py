"""The PostgreSQL engine's side of moving a store: ``Target`` over a database.

Called by ``control.store_copy``. The mark is the table ``copying``, which ``postgresql_schema`` looks for: while
it is there no server opens the database. Rows arrive by COPY, each chunk in one transaction with the position.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from snsnode.base.errors import Held, NotAllowed, SnsError, Unavailable
from snsnode.base.ids import PostId
from snsnode.store.postgresql_connect import Connector, limited
from snsnode.store.postgresql_errors import DRIVER_ERRORS, final_error
from snsnode.store.postgresql_schema import migrate_in_time
from snsnode.store.postgresql_url import parse_url
from snsnode.store.statements import statements
from snsnode.store.transfer import END, TABLES, Contents, Position, Row, Table, position

COMMAND_S = 120.0  # of one transaction; beyond it the server, or its synchronous standby, is taken for hung
LEAVING_S = 3.0  # a database server takes a moment to see that a killed process is gone
LOOK_EVERY_S = 0.1

_log = logging.getLogger(__name__)
_SQL = statements("postgresql")
_COUNTS = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table.name})" for table in TABLES)


class PostgresqlTarget:
    """``Target`` over one database. Its methods are documented there."""

    def __init__(self, connection: Any, name: str) -> None:
        """Use ``open``; ``name`` is the URL as it may be shown."""
        self._db = connection
        self._name = name

    @classmethod
    async def open(cls, url: str, home: Path) -> Self:
        """Connect to the primary; nothing is read or written.

        Raises:
            ConfigError: the URL, the server or the database cannot be used before somebody acts.
            Unavailable: no host takes writes now.
        """
        connector = Connector(parse_url(url, home))
        return cls((await connector.connect()).connection, str(connector.target))

    async def begin(self, origin: str, *, from_scratch: bool) -> Position:
        """As ``Target.begin``.

        Raises:
            Held: servers are connected to it.
        """
        await self._refuse_while_used()
        async with self._asked("write to"):
            marked = await self._db.fetchval(_SQL["has_copy"])
        if not marked:
            await migrate_in_time(self._db, f"the store {self._name}")
        async with self._asked("write to"), self._db.transaction():
            await self._db.execute(_SQL["lock_schema"])
            here = await self._begin(origin, from_scratch)
        try:
            await self._refuse_while_used()  # a server may have opened it before it was marked
        except Held:
            if here == Position():
                async with self._asked("write to"):
                    await self._db.execute(_SQL["end_copy"])  # what that server writes is not a copy's
            raise
        return here

    async def rows(self, table: Table, after: Row, limit: int) -> list[Row]:
        """As ``Source.rows``."""
        key = ", ".join(table.key)
        where = f"WHERE ({key}) > ({', '.join(f'${n}' for n in range(1, len(after) + 1))})" if after else ""
        columns = ", ".join(table.columns)
        query = f"SELECT {columns} FROM {table.name} {where} ORDER BY {key} LIMIT ${len(after) + 1}"
        async with self._asked("read"):
            return [tuple(row) for row in await self._db.fetch(query, *after, limit)]

    async def contents(self) -> Contents:
        """As ``Source.contents``."""
        async with self._asked("read"):
            return await self._contents()

    async def add(self, rows: Sequence[Row], here: Position, there: Position) -> None:
        """As ``Target.add``."""
        table = TABLES[here.table]
        async with self._asked("write to"), self._db.transaction():
            if not await self._db.fetchval(_SQL["move_copy"], there.text(), here.text()):
                raise NotAllowed(f"cannot copy into {self._name}: another copy is at work in it")
            await self._db.copy_records_to_table(table.name, records=rows, columns=table.columns)

    async def finish(self, contents: Contents) -> None:
        """As ``Target.finish``."""
        async with self._asked("write to"):
            if not await self._db.fetchval(_SQL["has_copy"]):
                return
        async with self._asked("write to"), self._db.transaction():
            last = max(contents.last_post_id, (await self._contents()).last_post_id)
            if last:
                await self._db.execute(_SQL["set_last_post_id"], last)
            await self._db.executemany(_SQL["raise_epoch"], contents.epochs)
            await self._db.execute(_SQL["end_copy"])
        try:
            async with self._asked("write to"):
                await self._db.execute(f"ANALYZE {', '.join(table.name for table in TABLES)}")
        except SnsError as error:  # the planner's first idea of it; autovacuum has the next
            _log.warning("the copy is complete; but its tables could not be analyzed: %s", error.message)

    async def close(self) -> None:
        """As ``Source.close``."""
        self._db.terminate()

    async def _refuse_while_used(self) -> None:
        give_up_at_s = time.monotonic() + LEAVING_S
        while True:
            async with self._asked("read"):
                others = await self._db.fetchval(_SQL["other_connections"])
            if not others:
                return
            if time.monotonic() >= give_up_at_s:
                raise Held(
                    f"cannot copy into {self._name}: snsnode has it open ({others} connections), and may write to "
                    "it; run 'snsctl stop' for its cluster first"
                )
            await asyncio.sleep(LOOK_EVERY_S)

    async def _begin(self, origin: str, from_scratch: bool) -> Position:
        what = f"cannot copy into {self._name}"
        if await self._db.fetchval(_SQL["has_copy"]):
            known, text = await self._db.fetchrow(_SQL["copy"])
            if known == origin and not from_scratch:
                return position(text)
            if not from_scratch:
                raise NotAllowed(
                    f"{what}: it holds an unfinished copy of a store that was not as this one is now; was there a "
                    "server at work in between? --from-scratch removes it and begins anew"
                )
            await self._db.execute(f"TRUNCATE {', '.join(table.name for table in TABLES)}")
            await self._db.execute(_SQL["end_copy"])
        elif not (contents := await self._contents()).is_empty:
            if contents.may_be_copy_of(origin):
                return END
            raise NotAllowed(f"{what}: it holds users and posts of its own; name one that is empty or new")
        await self._db.execute(_SQL["make_copy"])
        await self._db.execute(_SQL["begin_copy"], origin, Position().text())
        return Position()

    async def _contents(self) -> Contents:
        counts = tuple(await self._db.fetchrow(_COUNTS))
        epochs = await self._db.fetch(_SQL["epochs"])
        last = await self._db.fetchval(_SQL["last_given_post_id"])
        return Contents(counts, PostId(last), tuple((row["vm"], row["epoch"]) for row in epochs))

    @asynccontextmanager
    async def _asked(self, verb: str) -> AsyncIterator[None]:
        """Bound what the block asks, and turn the driver's errors into ours; ``verb``: "read" or "write to"."""
        overdue = Unavailable(
            f"cannot {verb} the store {self._name}: its server said nothing for {COMMAND_S:.0f} s; run the same "
            "command again to go on"
        )
        with limited(self._db, COMMAND_S, overdue):
            try:
                yield
            except DRIVER_ERRORS as error:
                raise final_error(error, verb) from error
