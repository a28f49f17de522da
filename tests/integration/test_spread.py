"""``selection: spread`` with real masters and real clients: evenly filled, evenly taken over, filled again."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from snsnode.client import Client
from tests.cluster import Cluster, running
from tests.eventually import eventually, eventually_async

pytestmark = pytest.mark.integration

CLIENTS = 60
LATER_MAX = 60
REFILLED = 15
WITHIN_S = 30.0
VICTIM = "vm3"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running(servers=3, more="selection: spread") as started:
        eventually(lambda: sorted(counts(started).values()) == [0, 0, 0], WITHIN_S, every_s=0.2)
        yield started


def counts(cluster: Cluster) -> Counter[str]:
    """Return how many clients each AVAILABLE server has, as the router knows it."""
    servers = cluster.status()["servers"]
    return Counter({each["vm"]: each["clients"] for each in servers if each["state"] == "AVAILABLE"})


async def settled(cluster: Cluster, expected: list[int], within: int) -> None:
    """Wait until all clients are counted, and no server has ``within`` more or less than expected."""

    async def even() -> bool:
        now = await asyncio.to_thread(counts, cluster)
        assert sum(now.values()) == sum(expected), now
        assert all(abs(a - b) <= within for a, b in zip(sorted(now.values()), expected, strict=True)), now
        return True

    await eventually_async(even, WITHIN_S)


async def use(cluster: Cluster) -> None:
    async with AsyncExitStack() as stack:

        async def enter(number: int) -> Client:
            return await stack.enter_async_context(Client(cluster.router_targets, username=f"user{number}"))

        clients = [await enter(number) for number in range(CLIENTS)]
        await settled(cluster, [20, 20, 20], within=3)

        await asyncio.to_thread(cluster.kill, VICTIM, "slave", "master", "spare")
        await asyncio.gather(*(client.post("after the crash") for client in clients))
        # The pair comes back, and is held down at first: those who were there went to both others, not all to
        # one; evenly to a client or two where nobody is starved.
        await settled(cluster, [0, 30, 30], within=8)

        for number in range(LATER_MAX):
            clients.append(await enter(CLIENTS + number))
            if (await asyncio.to_thread(counts, cluster))[VICTIM] >= REFILLED:
                break
        now = await asyncio.to_thread(counts, cluster)
        assert now[VICTIM] >= REFILLED, now
        assert max(now.values()) < REFILLED + 30, now


def test_clients_are_spread_over_all_servers(cluster: Cluster) -> None:
    asyncio.run(use(cluster))
