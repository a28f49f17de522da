"""The client library while servers and routers die, freeze and come back."""

import asyncio
import gc
import signal
import socket
import time
from pathlib import Path

import pytest

from snsnode.base.errors import AlreadyDone, DeadlineExceeded, Unavailable
from snsnode.client import Client, Connected, Event, Post, Reconnecting, rounds
from tests.client_rig import running
from tests.eventually import eventually_async
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.chaos]


async def test_server_killed_the_next_call_succeeds_and_the_user_interface_is_told(tmp_path: Path) -> None:
    events: list[Event] = []
    async with running(tmp_path) as cluster, Client(cluster.targets, "alice", on_event=events.append) as alice:
        first, second = (server.port for server in cluster.servers)
        cluster.servers[0].kill()
        began = time.monotonic()
        await alice.post("hello")
        assert time.monotonic() - began < 5.0
        assert events[0] == Connected("127.0.0.1", first)
        assert Reconnecting("127.0.0.1", second) in events
        assert events[-1] == Connected("127.0.0.1", second)
        report = cluster.routers[0].asked[1]
        assert (report.unreachable.vm, report.unreachable.epoch) == ("vm1", 1)


async def test_servers_killed_in_a_storm_lose_and_double_nothing(tmp_path: Path) -> None:
    """Four clients post while the servers are killed and restarted in turn; one timeline is open all the time."""
    async with running(tmp_path) as cluster, Client(cluster.targets, "reader") as reader:
        acknowledged: list[Post] = []
        seen: list[Post] = []
        stop = asyncio.Event()
        names = [f"writer{number}" for number in range(4)]

        async def write(name: str) -> None:
            async with Client(cluster.targets, name) as writer:
                number = 0
                while not stop.is_set():
                    acknowledged.append(await writer.post(f"{name} {number}"))
                    number += 1

        async def read() -> None:
            async for post in reader.timeline():
                seen.append(post)

        async def more(count: int) -> None:
            enough = len(acknowledged) + count
            await eventually_async(lambda: len(acknowledged) >= enough, within_s=15.0)

        for name in names:
            async with Client(cluster.targets, name):
                await reader.follow(name)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            writing = [group.create_task(write(name)) for name in names]
            for turn in range(6):
                await more(50)
                cluster.servers[turn % 2].kill()
                await more(50)
                await cluster.servers[turn % 2].start()
            stop.set()
            await asyncio.wait(writing)
            await eventually_async(lambda: len(seen) >= len(acknowledged), within_s=10.0)
            reading.cancel()
        assert [post.post_id for post in seen] == sorted({post.post_id for post in acknowledged})
        assert sorted(post.text for post in seen) == sorted(post.text for post in acknowledged)


async def test_frozen_server_is_left_before_pings_give_it_away(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster, Client(cluster.targets, "alice") as alice:
        await alice.post("before")
        cluster.servers[0].signal(signal.SIGSTOP)
        began = time.monotonic()
        await alice.post("after")
        assert time.monotonic() - began < 1.1  # 0.62 s; pings alone take 1.3 s
        timeline = alice.timeline()
        assert [post.text for post in await timeline.history()] == ["after", "before"]


async def test_idle_timeline_leaves_a_frozen_server(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as cluster,
        Client(cluster.targets, "alice") as alice,
        Client(cluster.targets, "bob") as bob,
    ):
        await alice.follow("bob")
        timeline = alice.timeline()
        assert await timeline.history() == []
        next_post = asyncio.create_task(anext(timeline))
        cluster.servers[0].signal(signal.SIGSTOP)
        await bob.post("hello")
        assert (await asyncio.wait_for(next_post, 15.0)).text == "hello"


async def test_busy_server_that_a_router_vouches_for_is_kept(tmp_path: Path) -> None:
    """A call is slow, the server is asked about, and it answers again before anybody gives it up."""
    events: list[Event] = []
    async with (
        running(tmp_path, servers=1) as cluster,
        Client(cluster.targets, "alice", on_event=events.append) as alice,
    ):
        cluster.servers[0].signal(signal.SIGSTOP)
        posting = asyncio.create_task(alice.post("slow"))
        await eventually_async(lambda: len(cluster.routers[0].asked) == 2, within_s=10.0)
        cluster.servers[0].signal(signal.SIGCONT)
        await posting
        assert len(events) == 1


async def test_nothing_stays_connected_to_a_server_that_was_left(tmp_path: Path) -> None:
    events: list[Event] = []
    async with running(tmp_path) as cluster, Client(cluster.targets, "alice", on_event=events.append) as alice:
        left = cluster.servers[0]
        assert _connections_to(left.port) == 1
        left.signal(signal.SIGSTOP)
        posting = asyncio.create_task(alice.post("hello"))
        await eventually_async(lambda: len(events) == 3, within_s=10.0)
        left.signal(signal.SIGCONT)
        await posting
        await eventually_async(lambda: _connections_to(left.port) == 0, within_s=10.0)


def _connections_to(port: int) -> int:
    """Count this machine's established TCP connections to ``port``; proc(5) has the format."""
    # gRPC's sockets are of IPv6 also where the address is of IPv4.
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


async def test_router_dead_is_no_reason_to_leave_a_server(tmp_path: Path) -> None:
    events: list[Event] = []
    async with running(tmp_path) as cluster:
        async with Client(cluster.targets, "alice", on_event=events.append) as alice:
            await cluster.routers[0].stop()
            for number in range(20):
                await alice.post(str(number))
            timeline = alice.timeline()
            assert len(await timeline.history()) == 20
        assert len(events) == 1


async def test_second_router_serves_when_the_first_is_dead_or_a_black_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as hole:  # accepts connections in the kernel and never says a word
        hole.bind(("127.0.0.1", free_port()))
        hole.listen(8)
        dead = f"127.0.0.1:{free_port()}"
        async with running(tmp_path) as cluster:
            for first in (dead, f"127.0.0.1:{hole.getsockname()[1]}"):
                began = time.monotonic()
                async with Client([first, *cluster.targets], "alice") as alice:
                    assert time.monotonic() - began < 6.0
                    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("sns-ask")]
                    cluster.routers[0].asked.clear()
                    cluster.servers[0].kill()
                    with monkeypatch.context() as patch:
                        # Who asks the hole first waits for it, 9 s.
                        patch.setattr(rounds, "HEDGE_S", 10.0)
                        patch.setattr(rounds, "ASK_TIMEOUT_S", 9.0)
                        async with asyncio.timeout(6.0):
                            await alice.post("hello")
                await cluster.servers[0].start()


async def test_server_that_is_back_is_found_although_every_router_is_dead(tmp_path: Path) -> None:
    async with running(tmp_path, servers=1) as cluster, Client(cluster.targets, "alice") as alice:
        await cluster.routers[0].stop()
        cluster.servers[0].kill()
        posting = asyncio.create_task(alice.post("hello"))
        await cluster.servers[0].start()
        await asyncio.wait_for(posting, 10.0)


async def test_nobody_alive_is_said_within_the_deadline_and_leaving_takes_no_longer(tmp_path: Path) -> None:
    async with running(tmp_path, servers=1) as cluster:
        async with Client(cluster.targets, "alice", deadline_s=1.0) as alice:
            cluster.servers[0].kill()
            await cluster.routers[0].stop()
            began = time.monotonic()
            with pytest.raises((Unavailable, DeadlineExceeded)) as caught:
                await alice.post("hello")
            assert 0.9 < time.monotonic() - began < 4.0
            assert "cannot post: no server answered within 1 s" in caught.value.message
            assert f"router {cluster.targets[0]}: Connection refused" in caught.value.message
            assert f"server 127.0.0.1:{cluster.servers[0].port}: Connection refused" in caught.value.message
            timeline = alice.timeline()
            with pytest.raises(Unavailable, match="cannot read the timeline"):
                await anext(timeline)
            began = time.monotonic()
        assert time.monotonic() - began < 5.0


async def test_client_that_outlives_an_outage_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, servers=1) as cluster, Client(cluster.targets, "alice", deadline_s=0.5) as alice:
        timeline = alice.timeline()
        assert await timeline.history() == []
        cluster.servers[0].kill()
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await alice.post("lost in the outage")
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await anext(timeline)
        await cluster.servers[0].start()
        async with Client(cluster.targets, "bob") as bob:
            await alice.follow("bob")
            await bob.post("hello")
            assert (await anext(timeline)).text == "hello"


async def test_name_taken_by_somebody_during_an_outage_is_said_to_the_caller(tmp_path: Path) -> None:
    async with running(tmp_path, servers=2, routers=2) as cluster:
        alices, others = cluster.routers
        alices.servers = cluster.servers[:1]
        others.servers = cluster.servers[1:]
        async with Client([alices.target], "alice", deadline_s=1.0) as alice:
            cluster.servers[0].kill()
            thief = await eventually_async(lambda: _logged_in(others.target, "alice"), within_s=8.0)
            try:
                alices.servers = cluster.servers[1:]
                with pytest.raises(AlreadyDone, match="alice"):
                    await alice.post("hello")
            finally:
                await thief.__aexit__(None, None, None)
            await alice.post("my name again")


async def _logged_in(target: str, username: str) -> Client | None:
    client = Client([target], username)
    try:
        return await client.__aenter__()
    except AlreadyDone:
        return None


async def test_concurrent_calls_share_one_search(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster, Client(cluster.targets, "alice") as alice:
        timelines = [alice.timeline() for _ in range(3)]
        for timeline in timelines:
            await timeline.history()
        cluster.routers[0].asked.clear()
        cluster.servers[0].kill()
        posts = await asyncio.gather(*(alice.post(str(number)) for number in range(50)))
        assert len({post.post_id for post in posts}) == 50
        assert len(cluster.routers[0].asked) <= 2


async def test_calls_cancelled_while_nobody_serves_leave_the_client_usable(tmp_path: Path) -> None:
    async with running(tmp_path, servers=1) as cluster, Client(cluster.targets, "alice") as alice:
        cluster.servers[0].kill()
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await alice.post("never")
        await cluster.servers[0].start()
        await alice.post("hello")


async def test_server_that_drains_sends_its_clients_on_without_an_error(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as cluster,
        Client(cluster.targets, "alice") as alice,
        Client(cluster.targets, "bob") as bob,
    ):
        await alice.follow("bob")
        timeline = alice.timeline()
        await timeline.history()
        cluster.routers[0].servers = cluster.servers[1:]
        cluster.servers[0].signal(signal.SIGTERM)
        sent = [await bob.post(str(number)) for number in range(100)]
        assert [await anext(timeline) for _ in sent] == sent


async def test_idle_client_keeps_its_name_through_a_failover(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster, Client(cluster.targets, "alice"):
        cluster.servers[0].kill()
        until = time.monotonic() + 6.0  # longer than a lease
        while time.monotonic() < until:
            with pytest.raises(AlreadyDone):
                async with Client(cluster.targets, "alice"):
                    pass
            await asyncio.sleep(0.2)


async def test_dropped_timelines_leave_nothing_behind(tmp_path: Path) -> None:
    async with running(tmp_path, servers=1) as cluster, Client(cluster.targets, "alice") as alice:
        await alice.post("hello")
        before = len(asyncio.all_tasks())
        gc.disable()  # they must not need it
        try:
            for _ in range(20):
                async for _post in alice.timeline():
                    break
            await eventually_async(lambda: len(asyncio.all_tasks()) <= before, within_s=10.0)
        finally:
            gc.enable()


async def test_timeline_dropped_after_its_server_died_leaves_nothing_behind(tmp_path: Path) -> None:
    events: list[Event] = []
    async with running(tmp_path) as cluster, Client(cluster.targets, "alice", on_event=events.append) as alice:
        before = len(asyncio.all_tasks())
        timeline = alice.timeline()
        await timeline.history()
        cluster.servers[0].kill()
        await eventually_async(lambda: isinstance(events[-1], Connected) and len(events) > 1, within_s=10.0)
        del timeline
        await eventually_async(lambda: len(asyncio.all_tasks()) <= before, within_s=10.0)
