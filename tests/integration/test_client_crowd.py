"""Many clients in one process that lose the same server: hazard 13, as the router and the next server see it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from snsnode.base.errors import Unavailable
from snsnode.client import Client
from snsnode.client.asking import ASKS_MAX
from snsnode.rpc import server_pb2
from tests.client_rig import ListRouter, running
from tests.eventually import eventually_async

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

CLIENTS = 120
WITHIN_S = 20.0


class CountingRouter(ListRouter):
    """Takes its time for an answer, and knows how many ask at once and over how many connections."""

    now = 0
    most = 0
    deaf = False

    def reset(self) -> None:
        self.asked.clear()
        self.most = 0
        self.peers: set[str] = set()

    async def Connect(self, request: Any, context: Any) -> server_pb2.ServerInfo:  # noqa: N802
        self.now += 1
        self.most = max(self.most, self.now)
        self.peers.add(context.peer())
        try:
            await asyncio.sleep(0.005)
            if self.deaf:
                self.asked.append(request)
                raise Unavailable("cannot name a server: none is registered")
            return await super().Connect(request, context)
        finally:
            self.now -= 1


async def test_clients_of_a_process_ask_a_few_at_a_time_over_one_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        router = CountingRouter(cluster.servers)
        router.reset()
        await router.start()
        clients = [Client([router.target], f"user{number}") for number in range(CLIENTS)]
        try:
            await asyncio.gather(*(client.__aenter__() for client in clients))
            assert router.most <= ASKS_MAX
            router.reset()
            cluster.servers[0].kill()
            await asyncio.gather(*(client.post("again") for client in clients))
            assert router.most == ASKS_MAX
            assert len(router.asked) < CLIENTS * 1.5
            # One after the other, where all who asked were answered while nobody else waited.
            assert len(router.peers) <= CLIENTS / 10
        finally:
            await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))
            await router.stop()


async def test_clients_that_wait_for_a_server_share_the_answer_that_there_is_none(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        router = CountingRouter(cluster.servers)
        router.reset()
        await router.start()
        clients = [Client([router.target], f"user{number}") for number in range(CLIENTS)]
        try:
            await asyncio.gather(*(client.__aenter__() for client in clients))
            router.reset()
            router.deaf = True
            cluster.servers[0].kill()
            posting = [asyncio.create_task(client.post("again")) for client in clients]
            await eventually_async(lambda: len(router.asked) >= 3 * ASKS_MAX, within_s=WITHIN_S)
            router.deaf = False
            asked = len(router.asked)
            await asyncio.wait_for(asyncio.gather(*posting), WITHIN_S)
            assert router.most <= ASKS_MAX
            assert asked < CLIENTS  # each for itself would have asked once, in the first round alone
        finally:
            await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))
            await router.stop()
