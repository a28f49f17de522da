"""What the stores do here: durable posts, timelines, opening, hearing of another's post.

Run ``python bench/store.py [--json]``. The figures of PostgreSQL, alone and with a synchronous standby, have its
name before theirs. Machines differ, so the ratios are what to compare; each is taken within
one run, on one disk (``--folder``; a tmpfs would flatter the fsyncs).
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
from figures import Targets, show

from snsnode.base.ids import ClientId, RequestId, UserName, new_request_id
from snsnode.base.signals import exit_on_signals
from snsnode.store.protocol import Login
from snsnode.store.sqlite import SqliteStore
from snsnode.store.sqlite_writer import BATCH_MAX

CALLERS = 64
READERS = 4
AUTHORS = 10_000
FOLLOWEES = (10, 200, 2_000)
SLICES = 15
FOLLOWERS = (10, 10_000)
TEXT = "x" * 60
AUTHOR = UserName("author")
TARGETS: Targets = {
    "posts_group_to_single": (">=", 4.0),
    "post_cost_many_to_few_followers": ("<=", 1.2),
    "timelines_200_to_10_followees": (">=", 0.5),
    "postgresql_synchronous_posts_group_to_single": (">=", 4.0),
    "postgresql_post_cost_many_to_few_followers": ("<=", 1.2),
    "postgresql_timelines_200_to_10_followees": (">=", 0.25),
}


def main() -> None:
    """Measure, and print a table or one JSON object; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--posts", type=int, default=1_000_000, help="posts under the timelines (default 10^6)")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each figure (default 3)")
    parser.add_argument("--folder", type=Path, default=None, help="where to make the files (default: TMPDIR)")
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), help="measure only this one (default: both)")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    if arguments.engine != "postgresql":
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            figures |= asyncio.run(measure(Path(folder), arguments.posts, arguments.seconds))
    if arguments.engine != "sqlite":
        import store_postgresql  # and its driver, which SQLite does without

        measured = store_postgresql.measure(arguments.posts, arguments.seconds)
        figures |= {f"postgresql_{name}": figure for name, figure in measured.items()}
    sys.exit(show(figures, TARGETS, as_json=arguments.json))


async def measure(folder: Path, posts: int, seconds: float) -> dict[str, float]:
    """Return every figure by name; the unit stands last in the name, a ratio has none."""
    figures: dict[str, float] = {}
    figures |= await durable_posts(folder, seconds)
    figures |= await fan_out(folder, seconds)
    figures |= await timelines(folder, posts, seconds)
    figures |= await hearing(folder)
    return figures


async def durable_posts(folder: Path, seconds: float) -> dict[str, float]:
    """Posts of 64 callers, acknowledged one by one, alone in a transaction and with group commit."""
    figures: dict[str, float] = {}
    for name, batch_max in (("single", 1), ("group", BATCH_MAX)):
        store = await SqliteStore.open(folder / f"{name}.db", batch_max=batch_max)
        await store.login(Login(AUTHOR, ClientId("c")), 60)
        rate, waits_ms = await rated(lambda: store.post(AUTHOR, new_request_id(), TEXT), CALLERS, seconds)  # noqa: B023
        await store.close()
        figures |= {f"posts_{name}_per_s": rate, f"posts_{name}_p50_ms": middle(waits_ms, 50)}
        figures[f"posts_{name}_p99_ms"] = middle(waits_ms, 99)
    figures["posts_group_to_single"] = figures["posts_group_per_s"] / figures["posts_single_per_s"]
    return figures


async def fan_out(folder: Path, seconds: float) -> dict[str, float]:
    """What a post costs by the number of its author's followers."""
    figures: dict[str, float] = {}
    stores: dict[int, SqliteStore] = {}
    for followers in FOLLOWERS:
        path = folder / f"fan-out-{followers}.db"
        await (await SqliteStore.open(path)).close()
        names = [f"follower{n}" for n in range(followers)]
        with apsw.Connection(str(path)) as db:
            db.executemany("INSERT INTO follows VALUES (?, ?, 0)", ((name, AUTHOR) for name in names))
        stores[followers] = await SqliteStore.open(path)
        await stores[followers].login(Login(AUTHOR, ClientId("c")), 60)
    slices: dict[int, list[float]] = {followers: [] for followers in FOLLOWERS}
    for _ in range(SLICES):
        for followers, store in stores.items():
            posting = rated(lambda: store.post(AUTHOR, new_request_id(), TEXT), CALLERS, seconds / SLICES)  # noqa: B023
            slices[followers].append((await posting)[0])
    for followers, store in stores.items():
        figures[f"posts_to_{followers}_followers_per_s"] = statistics.median(slices[followers])
        await store.close()
    pairs = zip(*(slices[followers] for followers in FOLLOWERS), strict=True)
    ratio = statistics.median(few / many for few, many in pairs)
    return {**figures, "post_cost_many_to_few_followers": ratio}


async def timelines(folder: Path, posts: int, seconds: float) -> dict[str, float]:
    """The newest 20 over ``posts`` posts by 10,000 authors, and opening that file."""
    path = folder / "timelines.db"
    await (await SqliteStore.open(path)).close()
    fill(path, posts)
    start_s = time.perf_counter()
    store = await SqliteStore.open(path)
    figures = {"open_existing_ms": (time.perf_counter() - start_s) * 1000}
    # In turn, in short slices, so that whatever else the machine does meets all of them alike.
    slices: dict[int, list[float]] = {followees: [] for followees in FOLLOWEES}
    for _ in range(SLICES):
        for followees, rates in slices.items():
            reader = UserName(f"reader{followees}")
            rates.append((await rated(lambda: store.history(reader), READERS, seconds / SLICES))[0])  # noqa: B023
    for followees, rates in slices.items():
        figures[f"timelines_{followees}_followees_per_s"] = statistics.median(rates)
    pairs = zip(slices[200], slices[10], strict=True)
    figures["timelines_200_to_10_followees"] = statistics.median(many / few for many, few in pairs)
    await store.close()
    return figures


async def hearing(folder: Path) -> dict[str, float]:
    """How soon a watcher hears of another instance's post, and what watching in silence costs."""
    watcher = await SqliteStore.open(folder / "hearing.db")
    other = await SqliteStore.open(folder / "hearing.db")
    await other.login(Login(AUTHOR, ClientId("c")), 60)
    heard = asyncio.Event()
    watcher.watch(heard.set)
    waits_ms: list[float] = []
    for number in range(200):
        heard.clear()
        await other.post(AUTHOR, RequestId(f"r{number}"), TEXT)
        start_s = time.perf_counter()
        await heard.wait()
        waits_ms.append((time.perf_counter() - start_s) * 1000)
        await asyncio.sleep(0.003 + 0.0001 * (number % 50))
    used_s, start_s = time.process_time(), time.perf_counter()
    await asyncio.sleep(2)
    core = (time.process_time() - used_s) / (time.perf_counter() - start_s)
    await watcher.close()
    await other.close()
    p50_ms, p99_ms = middle(waits_ms, 50), middle(waits_ms, 99)
    return {"hear_other_p50_ms": p50_ms, "hear_other_p99_ms": p99_ms, "watch_core_percent": core * 100}


async def rated(call: Callable[[], Awaitable[object]], callers: int, seconds: float) -> tuple[float, list[float]]:
    """Return calls per second of ``callers`` that each wait for the answer, and the waits in ms."""
    waits_ms: list[float] = []
    end_s = time.perf_counter() + seconds

    async def repeat() -> None:
        while (start_s := time.perf_counter()) < end_s:
            await call()
            waits_ms.append((time.perf_counter() - start_s) * 1000)

    start_s = time.perf_counter()
    await asyncio.gather(*(repeat() for _ in range(callers)))
    return len(waits_ms) / (time.perf_counter() - start_s), waits_ms


def fill(path: Path, posts: int) -> None:
    """Write the posts and follows straight into the file."""
    insert = "INSERT INTO posts (author, posted_at_ms, text, request_id) VALUES (?, ?, ?, ?)"
    with apsw.Connection(str(path)) as db:
        # 7919 is prime: it spreads each author's posts evenly over the ids.
        rows = ((f"author{n * 7919 % AUTHORS}", n, TEXT, f"{n:032}") for n in range(posts))
        db.executemany(insert, rows)
        for followees in FOLLOWEES:
            step = AUTHORS // followees
            follows = ((f"reader{followees}", f"author{n * step}") for n in range(followees))
            db.executemany("INSERT INTO follows VALUES (?, ?, 0)", follows)


def middle(waits_ms: list[float], percent: int) -> float:
    """Return the percentile."""
    return statistics.quantiles(waits_ms, n=100)[percent - 1]


if __name__ == "__main__":
    with exit_on_signals():  # what it started is ended, too
        main()
