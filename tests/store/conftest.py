"""Fixtures for the tests of the engines."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from snsnode.base.ids import ClientId, UserName
from snsnode.store.clock import Clock
from snsnode.store.postgresql import PostgresqlStore
from snsnode.store.protocol import Login, Store
from snsnode.store.sqlite import SqliteStore
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.postgresql_rig import Postgresql, postgresql

__all__ = ["bounded_in_time", "nothing_left_behind", "postgresql"]

ALICE = UserName("alice")
BOB = UserName("bob")


@dataclass
class Hands:
    """A clock whose hands a test moves."""

    wall_ms: int = 1_700_000_000_000
    boot_ms: int = 50_000
    boot_id: str = "boot-1"

    def clock(self) -> Clock:
        return Clock(lambda: self.wall_ms, lambda: self.boot_ms, self.boot_id)


OpenSqlite = Callable[..., Awaitable[SqliteStore]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sns.db"


@pytest.fixture
async def open_sqlite(path: Path) -> AsyncIterator[OpenSqlite]:
    """Opens an instance on ``path``, or on the path given; closed when the test ends."""
    opened: list[SqliteStore] = []

    async def open_one(where: Path = path, clock: Clock | None = None, batch_max: int = 256) -> SqliteStore:
        opened.append(await SqliteStore.open(where, clock=clock, batch_max=batch_max))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_sqlite: OpenSqlite) -> SqliteStore:
    """A store with the users alice and bob."""
    store = await open_sqlite()
    await make_users(store)
    return store


async def make_users(store: Store) -> None:
    for name in (ALICE, BOB):
        await store.login(Login(name, ClientId("client")), lease_s=60)


OpenPostgresql = Callable[..., Awaitable[PostgresqlStore]]


@pytest.fixture
def database(postgresql: Postgresql) -> Iterator[str]:
    """A fresh database with the schema of a store."""
    name = postgresql.make_database()
    yield name
    postgresql.drop_database(name)


@pytest.fixture
def empty_database(postgresql: Postgresql) -> Iterator[str]:
    """A fresh database with nothing in it."""
    name = postgresql.make_database("template0")
    yield name
    postgresql.drop_database(name)


@pytest.fixture
async def open_postgresql(postgresql: Postgresql, tmp_path: Path) -> AsyncIterator[OpenPostgresql]:
    """Opens an instance on a database; closed when the test ends."""
    opened: list[PostgresqlStore] = []

    async def open_one(database: str, batch_max: int = 256) -> PostgresqlStore:
        opened.append(await PostgresqlStore.open(postgresql.url(database), tmp_path, batch_max=batch_max))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()
