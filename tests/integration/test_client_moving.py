"""Clients of a server that leaves move to another one: nothing fails, nothing is cut, nothing is seen twice."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from snsnode.base.errors import AlreadyDone
from snsnode.client import Client, Connected, Event, Post, attempts, keeper
from snsnode.rpc import server_pb2
from snsnode.rpc import social_pb2 as pb
from snsnode.social.service import SocialService
from snsnode.store.protocol import Store
from tests.client_rig import Cluster, ListRouter, running
from tests.eventually import eventually_async
from tests.social_rig import Server, store_in

pytestmark = pytest.mark.integration

WITHIN_S = 10.0


def leave(cluster: Cluster) -> None:
    """Let the first server tell its clients that it leaves, as routers know already."""
    for router in cluster.routers:
        router.servers = [*cluster.servers[1:], cluster.servers[0]]
    cluster.servers[0].signal(signal.SIGUSR1)


async def moved(events: list[Event], port: int) -> None:
    await eventually_async(lambda: events[-1] == Connected("127.0.0.1", port), within_s=WITHIN_S)


async def test_moves_without_a_failed_call_and_an_open_timeline_goes_on(tmp_path: Path) -> None:
    events: list[Event] = []
    async with (
        running(tmp_path) as cluster,
        Client(cluster.targets, "alice", on_event=events.append) as alice,
        Client(cluster.targets, "bob", on_event=events.append) as bob,
    ):
        await alice.follow("bob")
        sent: list[Post] = []
        seen: list[Post] = []
        stop = asyncio.Event()

        async def post() -> None:
            while not stop.is_set():
                sent.append(await bob.post(str(len(sent))))

        async def read() -> None:
            async for post in alice.timeline():
                seen.append(post)

        async with asyncio.TaskGroup() as group:
            reading, posting = group.create_task(read()), group.create_task(post())
            await eventually_async(lambda: len(seen) >= 20, within_s=WITHIN_S)
            leave(cluster)
            second = Connected("127.0.0.1", cluster.servers[1].port)
            await eventually_async(lambda: events.count(second) == 2, within_s=WITHIN_S)
            enough = len(sent) + 50
            await eventually_async(lambda: len(sent) >= enough, within_s=WITHIN_S)
            cluster.servers[0].kill()  # nobody is there any more
            enough = len(sent) + 50
            await eventually_async(lambda: len(sent) >= enough, within_s=WITHIN_S)
            stop.set()
            await asyncio.wait((posting,))
            await eventually_async(lambda: len(seen) >= len(sent), within_s=WITHIN_S)
            reading.cancel()
        assert [post.text for post in seen] == [str(number) for number in range(len(sent))]
        # Nobody was lost or in doubt: a planned move is none of the user's business.
        first = Connected("127.0.0.1", cluster.servers[0].port)
        assert events == [first, first, second, second]
        assert not any(request.HasField("unreachable") for request in cluster.routers[0].asked)


async def test_name_stays_taken_through_a_move_and_is_free_after_the_logout(tmp_path: Path) -> None:
    events: list[Event] = []
    async with running(tmp_path) as cluster:
        async with Client(cluster.targets, "alice", on_event=events.append) as alice:
            leave(cluster)
            until = time.monotonic() + 5.0  # longer than a lease, at either server
            while time.monotonic() < until:
                with pytest.raises(AlreadyDone):
                    async with Client(cluster.targets, "alice"):
                        pass
                await asyncio.sleep(0.1)
            assert events[-1] == Connected("127.0.0.1", cluster.servers[1].port)
            await alice.post("still me")
        async with Client(cluster.targets, "alice"):
            pass  # at once, although the server that was left lives, and has known the name


async def test_only_server_is_kept_while_it_leaves_and_left_when_another_comes(tmp_path: Path) -> None:
    events: list[Event] = []
    async with running(tmp_path) as cluster:
        router = cluster.routers[0]
        router.servers = cluster.servers[:1]
        async with Client(cluster.targets, "alice", on_event=events.append) as alice:
            cluster.servers[0].signal(signal.SIGUSR1)
            await eventually_async(lambda: len(router.asked) >= 4, within_s=WITHIN_S)
            await alice.post("served")
            assert len(events) == 1
            router.servers = cluster.servers[1:]
            await moved(events, cluster.servers[1].port)
            asked = len(router.asked)
            await asyncio.sleep(0.5)
            assert len(router.asked) == asked, "it asks on although it has moved"


async def test_server_that_stays_after_all_is_not_asked_about_any_more(tmp_path: Path) -> None:
    async with running(tmp_path, servers=1) as cluster, Client(cluster.targets, "alice") as alice:
        router = cluster.routers[0]
        cluster.servers[0].signal(signal.SIGUSR1)
        await eventually_async(lambda: len(router.asked) >= 3, within_s=WITHIN_S)
        cluster.servers[0].signal(signal.SIGUSR2)
        await alice.post("stay")
        asked = len(router.asked)
        await asyncio.sleep(2.0)  # longer than the longest pause between two questions
        assert len(router.asked) <= asked + 1


async def test_client_that_comes_to_a_leaving_server_moves_as_soon_as_there_is_another(tmp_path: Path) -> None:
    events: list[Event] = []
    async with running(tmp_path) as cluster:
        cluster.servers[0].signal(signal.SIGUSR1)
        async with Client(cluster.targets, "alice", on_event=events.append):
            cluster.routers[0].servers = cluster.servers[1:]
            await moved(events, cluster.servers[1].port)


# --- calls in flight, at servers that can be held -----------------------------------------------------------


class HeldService(SocialService):
    """Answers posts when it may."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, on_fenced=lambda: None)
        self.may = asyncio.Event()
        self.may.set()
        self.posts = 0

    async def Post(self, request: pb.PostRequest, context: Any) -> pb.PostReply:  # noqa: N802
        self.posts += 1
        await self.may.wait()
        return await super().Post(request, context)


class HeldServer(Server):
    """As a router knows it."""

    def __init__(self, store: Store, vm: str) -> None:
        super().__init__(store)
        self.service: HeldService = HeldService(store)
        self.vm, self.epoch = vm, 1
        self.port = int(self.target.rpartition(":")[2])

    def info(self) -> server_pb2.ServerInfo:
        return server_pb2.ServerInfo(vm=self.vm, hostname="127.0.0.1", port=self.port, epoch=1)


@asynccontextmanager
async def two_held(home: Path) -> AsyncIterator[tuple[ListRouter, HeldServer, HeldServer]]:
    """Run two masters' services over one SQLite file in this process, and a router."""
    async with AsyncExitStack() as stack:
        servers: list[HeldServer] = []
        for vm in ("vm1", "vm2"):
            store = await stack.enter_async_context(store_in(home))
            servers.append(await stack.enter_async_context(HeldServer(store, vm).running()))
        router = ListRouter(list(servers))  # type: ignore[arg-type]
        await router.start()
        stack.push_async_callback(router.stop)
        yield router, servers[0], servers[1]


async def test_call_in_flight_is_answered_by_the_server_that_was_left(tmp_path: Path) -> None:
    events: list[Event] = []
    async with (
        two_held(tmp_path) as (router, first, second),
        Client([router.target], "alice", on_event=events.append) as alice,
    ):
        first.service.may.clear()
        posting = asyncio.create_task(alice.post("held"))
        await eventually_async(lambda: first.service.posts == 1, within_s=WITHIN_S)
        router.servers = [second]  # type: ignore[list-item]
        first.service.announce_leaving(True)
        await moved(events, second.port)
        await alice.post("at the other one")
        assert not posting.done()
        first.service.may.set()
        await posting
        assert (first.service.posts, second.service.posts) == (1, 1)
        await eventually_async(lambda: first.open_streams == 0, within_s=WITHIN_S)


async def test_call_that_is_never_answered_is_repeated_at_the_other_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RETIRE_S", 0.2)
    for name in ("TIMEOUT_S", "TIMEOUT_MAX_S"):
        monkeypatch.setattr(attempts, name, 30.0)  # it is not the call's own time limit that ends it
    events: list[Event] = []
    async with (
        two_held(tmp_path) as (router, first, second),
        Client([router.target], "alice", on_event=events.append) as alice,
    ):
        first.service.may.clear()
        posting = asyncio.create_task(alice.post("held"))
        await eventually_async(lambda: first.service.posts == 1, within_s=WITHIN_S)
        router.servers = [second]  # type: ignore[list-item]
        first.service.announce_leaving(True)
        await asyncio.wait_for(posting, WITHIN_S)
        assert second.service.posts == 1
        timeline = alice.timeline()
        assert [post.text for post in await timeline.history()] == ["held"]


async def test_client_that_logs_out_while_it_moves_waits_for_no_call(tmp_path: Path) -> None:
    async with two_held(tmp_path) as (router, first, second):
        events: list[Event] = []
        async with Client([router.target], "alice", on_event=events.append) as alice:
            first.service.may.clear()
            posting = asyncio.create_task(alice.post("held"))
            await eventually_async(lambda: first.service.posts == 1, within_s=WITHIN_S)
            router.servers = [second]  # type: ignore[list-item]
            first.service.announce_leaving(True)
            await moved(events, second.port)
            began = time.monotonic()
        assert time.monotonic() - began < keeper.RETIRE_S / 2
        await asyncio.wait((posting,))
        assert posting.exception() is not None
        first.service.may.set()
        async with Client([router.target], "alice"):
            pass
