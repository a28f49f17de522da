"""What the PostgreSQL store does here, for bench/store.py: alone, and with a synchronous standby beside it.

The servers are made for the run as in the tests, with fsync on, in TMPDIR. They share the cores with the callers
and with each other, so the ratios are what to compare.
"""

import asyncio
import statistics
import sys
import time
from pathlib import Path

import asyncpg
from store import (
    AUTHOR,
    AUTHORS,
    CALLERS,
    FOLLOWEES,
    FOLLOWERS,
    READERS,
    SLICES,
    TEXT,
    middle,
    rated,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

from snsnode.base.ids import ClientId, RequestId, UserName, new_request_id
from snsnode.store.postgresql import PostgresqlStore
from snsnode.store.protocol import Login
from tests.postgresql_rig import Postgresql, running, running_pair

POOL = 16  # connections of those who post one by one: where more no longer help
INSERT = "INSERT INTO posts (author, posted_at_ms, text, request_id) VALUES ($1, $2, $3, $4) RETURNING id"
HOME = Path("/")  # no path in these URLs is relative


def measure(posts: int, seconds: float) -> dict[str, float]:
    """Return every figure by name; the unit stands last in the name, a ratio has none."""
    with running() as server:
        server.make_template()
        figures = asyncio.run(alone(server, posts, seconds))
    with running_pair() as (primary, _):
        synchronous = asyncio.run(durable_posts(primary, seconds))
    return figures | {f"synchronous_{name}": figure for name, figure in synchronous.items()}


async def alone(server: Postgresql, posts: int, seconds: float) -> dict[str, float]:
    """Measure one server."""
    figures = await durable_posts(server, seconds)
    figures |= await fan_out(server, seconds)
    figures |= await timelines(server, posts, seconds)
    return figures | await hearing(server)


async def durable_posts(server: Postgresql, seconds: float) -> dict[str, float]:
    """Posts of 64 callers: one a transaction; with group commit; and, as a measure, bare INSERTs by a pool.

    In turn, in short slices. A bare INSERT looks for no repeat, keeps no order, checks no epoch and tells nobody.
    """
    database = server.make_database()
    url = server.url(database)
    store, single = await PostgresqlStore.open(url, HOME), await PostgresqlStore.open(url, HOME, batch_max=1)
    await store.login(Login(AUTHOR, ClientId("c")), 60)
    pool = await asyncpg.create_pool(
        host=str(server.folder), port=server.port, user="sns", database=database, min_size=POOL, max_size=POOL
    )

    async def insert() -> None:
        await pool.fetchval(INSERT, AUTHOR, int(time.time() * 1000), TEXT, new_request_id())

    ways = {
        "single": lambda: single.post(AUTHOR, new_request_id(), TEXT),
        "group": lambda: store.post(AUTHOR, new_request_id(), TEXT),
        "pool": insert,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    waits_ms: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(SLICES):
        for name, way in ways.items():
            rate, waits = await rated(way, CALLERS, seconds / SLICES)
            rates[name].append(rate)
            waits_ms[name] += waits
    for each in (store, single, pool):
        await each.close()
    figures: dict[str, float] = {}
    for name in ways:
        figures |= {f"posts_{name}_per_s": statistics.median(rates[name])}
        figures |= {f"posts_{name}_p{percent}_ms": middle(waits_ms[name], percent) for percent in (50, 99)}
    for name in ("single", "pool"):
        pairs = zip(rates["group"], rates[name], strict=True)
        figures[f"posts_group_to_{name}"] = statistics.median(group / other for group, other in pairs)
    return figures


async def fan_out(server: Postgresql, seconds: float) -> dict[str, float]:
    """What a post costs by the number of its author's followers."""
    stores: dict[int, PostgresqlStore] = {}
    for followers in FOLLOWERS:
        database = server.make_database()
        fill = (
            f"INSERT INTO follows SELECT 'follower' || n, '{AUTHOR}', 0 FROM generate_series(1, {followers}) AS n"
        )
        server.psql(fill, database)
        stores[followers] = await PostgresqlStore.open(server.url(database), HOME)
        await stores[followers].login(Login(AUTHOR, ClientId("c")), 60)
    slices: dict[int, list[float]] = {followers: [] for followers in FOLLOWERS}
    for _ in range(SLICES):
        for followers, store in stores.items():
            posting = rated(lambda: store.post(AUTHOR, new_request_id(), TEXT), CALLERS, seconds / SLICES)  # noqa: B023
            slices[followers].append((await posting)[0])
    for store in stores.values():
        await store.close()
    pairs = zip(*(slices[followers] for followers in FOLLOWERS), strict=True)
    figures = {
        f"posts_to_{followers}_followers_per_s": statistics.median(slices[followers]) for followers in slices
    }
    return {**figures, "post_cost_many_to_few_followers": statistics.median(few / many for few, many in pairs)}


async def timelines(server: Postgresql, posts: int, seconds: float) -> dict[str, float]:
    """The newest 20 over ``posts`` posts by 10,000 authors."""
    database = server.make_database()
    fill(server, database, posts)
    store = await PostgresqlStore.open(server.url(database), HOME)
    slices: dict[int, list[float]] = {followees: [] for followees in FOLLOWEES}
    for _ in range(SLICES):
        for followees, rates in slices.items():
            reader = UserName(f"reader{followees}")
            rates.append((await rated(lambda: store.history(reader), READERS, seconds / SLICES))[0])  # noqa: B023
    await store.close()
    figures = {
        f"timelines_{followees}_followees_per_s": statistics.median(slices[followees]) for followees in slices
    }
    pairs = zip(slices[200], slices[10], strict=True)
    return figures | {"timelines_200_to_10_followees": statistics.median(many / few for many, few in pairs)}


async def hearing(server: Postgresql) -> dict[str, float]:
    """How soon a watcher hears of another instance's post, from its acknowledgement on."""
    database = server.make_database()
    watcher, other = [await PostgresqlStore.open(server.url(database), HOME) for _ in range(2)]
    await other.login(Login(AUTHOR, ClientId("c")), 60)
    heard = asyncio.Event()
    watcher.watch(heard.set)
    waits_ms: list[float] = []
    for number in range(200):
        heard.clear()
        start_s = time.perf_counter()
        await other.post(AUTHOR, RequestId(f"r{number}"), TEXT)
        await heard.wait()
        waits_ms.append((time.perf_counter() - start_s) * 1000)
    await watcher.close()
    await other.close()
    return {"post_and_hear_p50_ms": middle(waits_ms, 50), "post_and_hear_p99_ms": middle(waits_ms, 99)}


def fill(server: Postgresql, database: str, posts: int) -> None:
    """Write the posts and follows straight into the tables, as in the SQLite file, and let them be vacuumed."""
    server.psql(
        "INSERT INTO posts (author, posted_at_ms, text, request_id) "
        f"SELECT 'author' || (n * 7919 % {AUTHORS}), n, '{TEXT}', lpad(n::text, 32, '0') "
        f"FROM generate_series(0, {posts - 1}::bigint) AS n",
        database,
    )
    for followees in FOLLOWEES:
        step = AUTHORS // followees
        server.psql(
            f"INSERT INTO follows SELECT 'reader{followees}', 'author' || n * {step}, 0 "
            f"FROM generate_series(0, {followees - 1}) AS n",
            database,
        )
    server.psql("VACUUM ANALYZE", database)
