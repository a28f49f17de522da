"""A store whose end fails: it ends all the same, with everything of it, and says what went wrong."""

import asyncio
from typing import Any

import apsw
import pytest

from snsnode.store.postgresql import PostgresqlStore
from tests.store.conftest import OpenPostgresql, OpenSqlite

WITHIN_S = 20.0


async def test_sqlite_with_a_statement_that_never_ends_closes_all_the_same(
    open_sqlite: OpenSqlite, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_sqlite()
    held: list[apsw.Cursor] = []

    def leave_open(db: apsw.Connection) -> None:
        held.append(db.execute("SELECT 1; SELECT 2"))

    await store._readers.read(leave_open)
    await store._writer.write(leave_open)
    async with asyncio.timeout(WITHIN_S):
        await store.close()
        await store.close()
    assert caplog.text.count("cannot close the store") == 2


async def test_postgresql_connection_that_fails_to_close_keeps_no_other_open(
    database: str,
    open_postgresql: OpenPostgresql,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = await open_postgresql(database)
    connections: list[Any] = [store._posts.session._connected, await _opened(store)]
    assert connections[0] is not None

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    connection = connections[0].connection
    monkeypatch.setattr(type(connection), "close", fail)
    async with asyncio.timeout(WITHIN_S):
        await store.close()
    assert "broken" in caplog.text
    assert all(each.connection.is_closed() for each in connections)


async def _opened(store: PostgresqlStore) -> Any:
    session = store._others.session
    await session.open()
    return session._connected
