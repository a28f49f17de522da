"""A minute of kills: acknowledged posts are neither lost nor doubled, and an open timeline shows each once."""

import asyncio
import random
import time
from collections import Counter

import pytest

from snsnode.base.errors import SnsError
from snsnode.client import Client
from tests.cluster import Cluster, running
from tests.eventually import eventually_async

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

POSTERS = 4
POST_EVERY_S = 0.02  # many a post is under way at each kill, and the machine has time for others
STORM_S = 60.0
KILL_EVERY_S = 2.0


async def test_no_acknowledged_post_is_lost_or_doubled_in_a_minute_of_kills() -> None:
    with running(servers=2) as cluster:
        await _storm(cluster)


async def _storm(cluster: Cluster) -> None:
    routers = [f"127.0.0.1:{cluster.ports['vm1']}"]
    acknowledged: list[list[str]] = [[] for _ in range(POSTERS)]
    seen: list[str] = []
    over = asyncio.Event()

    async def post(number: int) -> None:
        async with Client(routers, f"p{number}") as poster:
            while not over.is_set():
                text = f"p{number} {len(acknowledged[number])}"
                await poster.post(text)
                acknowledged[number].append(text)
                await asyncio.sleep(POST_EVERY_S)

    async def read(reader: Client) -> None:
        async for one in reader.timeline():
            seen.append(one.text)

    for number in range(POSTERS):
        async with Client(routers, f"p{number}"):
            pass  # to be followed, a user must exist
    async with Client(routers, "reader") as reader:
        for number in range(POSTERS):
            await reader.follow(f"p{number}")
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read(reader))
            posters = [group.create_task(post(number)) for number in range(POSTERS)]
            kills = await _kill_for(cluster, STORM_S)
            over.set()
            await asyncio.wait(posters)
            everything = [text for texts in acknowledged for text in texts]
            await eventually_async(lambda: len(seen) >= len(everything), 20)
            reading.cancel()
    assert kills >= STORM_S / KILL_EVERY_S * 0.8
    assert len(everything) > 100
    assert Counter(seen) == Counter(everything)
    for number in range(POSTERS):
        mine = [text for text in seen if text.startswith(f"p{number} ")]
        assert mine == acknowledged[number]  # in the order in which they were made


async def _kill_for(cluster: Cluster, seconds: float) -> int:
    """Kill a random master every ``KILL_EVERY_S``; return how many."""
    rng, kills, end_s = random.Random(1), 0, time.monotonic() + seconds
    while time.monotonic() < end_s:
        await asyncio.sleep(KILL_EVERY_S)
        try:
            await asyncio.to_thread(cluster.kill, rng.choice(cluster.server_vms), "master")
        except (AssertionError, SnsError):
            continue  # it is just being replaced
        kills += 1
    return kills
