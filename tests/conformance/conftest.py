"""The engines under test, and a store opened on a fresh place of each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from snsnode.base.ids import ClientId, UserName
from snsnode.store.engines import open_store
from snsnode.store.protocol import Login, Store
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.postgresql_rig import Postgresql, postgresql

__all__ = ["bounded_in_time", "nothing_left_behind", "postgresql"]


class Place(NamedTuple):
    """Where a store lives; several instances and processes may open it."""

    url: str
    home: Path


OpenStore = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place("sqlite:///sns.db", tmp_path)
        return
    server: Postgresql = request.getfixturevalue("postgresql")
    database = server.make_database()
    yield Place(server.url(database), tmp_path)
    server.drop_database(database)


@pytest.fixture
async def another(place: Place) -> AsyncIterator[OpenStore]:
    """Opens one more instance on the same place; closed when the test ends."""
    opened: list[Store] = []

    async def open_one() -> Store:
        opened.append(await open_store(place.url, place.home))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(another: OpenStore) -> Store:
    return await another()


@pytest.fixture
async def people(store: Store) -> tuple[UserName, UserName, UserName]:
    """Three users, logged in once each."""
    names = (UserName("alice"), UserName("bob"), UserName("carol"))
    for name in names:
        await store.login(Login(name, ClientId(f"client-of-{name}")), lease_s=60)
    return names
