"""Many clients with open timelines lose their server at the same moment, and come back without a stampede."""

import asyncio

import pytest

from tests.chaos.crowd import Crowd
from tests.cluster import running

pytestmark = pytest.mark.chaos

CLIENTS = 200
WITHIN_S = 60.0


def test_crowd_that_loses_its_server_is_served_again() -> None:
    """The bounds protect only: two hundred are back in about a second where nothing else runs."""
    with running(servers=2) as cluster:
        available = cluster.await_available()

        async def crowd() -> None:
            async with Crowd([f"127.0.0.1:{cluster.ports['vm1']}"], CLIENTS, processes=2) as crowd:
                await crowd.entered(WITHIN_S)
                seen = await crowd.lose(lambda: cluster.kill(available, "master"), WITHIN_S)
                await crowd.left(WITHIN_S)
            assert seen.problems == []
            assert len(seen.served_s) == CLIENTS
            assert len(seen.called_s) == CLIENTS // 20
            # One question each, as a rule; more where the machine is so busy that a server looks slow.
            assert seen.asked < 4 * CLIENTS

        asyncio.run(crowd())
