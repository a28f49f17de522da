"""The acceptance list of the original system, on a real cluster: what a user was promised, from start to stop."""

import asyncio
import secrets
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from snsnode.base.errors import AlreadyDone, NotAllowed, NotFound, Unavailable
from snsnode.client import Client, Post
from tests.cluster import Cluster, running
from tests.eventually import eventually, eventually_async

pytestmark = pytest.mark.integration
LAUNCH = Path(__file__).parents[2] / "bin" / "launch.sh"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(servers=2) as made:
        yield made


def client(cluster: Cluster, name: str) -> Client:
    return Client([f"127.0.0.1:{cluster.ports['vm1']}"], name, deadline_s=20)


async def read(cluster: Cluster, name: str, count: int) -> list[Post]:
    """Return the first ``count`` posts that ``name``'s timeline shows."""
    seen: list[Post] = []
    async with asyncio.timeout(20), client(cluster, name) as user:
        async for post in user.timeline():
            seen.append(post)
            if len(seen) == count:
                break
    return seen


async def test_all_four_commands_work_and_refusals_are_clear(cluster: Cluster) -> None:
    async with client(cluster, "ann") as ann, client(cluster, "ben") as ben:
        await ben.follow("ann")
        users, followers = await ann.list()
        assert {"ann", "ben"} <= set(users)
        assert followers == ["ben"]
        await ann.post("hello")
        async for post in ben.timeline():
            assert (post.username, post.text) == ("ann", "hello")
            assert post.time.tzinfo is not None
            break
        with pytest.raises(NotAllowed, match="ann"):
            await ann.follow("ann")
        with pytest.raises(AlreadyDone, match="ann"):
            await ben.follow("ann")
        with pytest.raises(NotFound, match="nobody"):
            await ben.follow("nobody")
        with pytest.raises(NotAllowed, match="ben"):
            await ann.unfollow("ben")
        await ben.unfollow("ann")
        assert (await ann.list())[1] == []
        with pytest.raises(AlreadyDone, match="ann"):
            async with client(cluster, "ann"):
                pytest.fail("a live user's name was given away")
    async with client(cluster, "ann"):
        pass  # the name is free as soon as its client left


async def test_a_follower_sees_the_last_twenty_made_since_it_followed(cluster: Cluster) -> None:
    async with client(cluster, "u1") as u1, client(cluster, "u2") as u2, client(cluster, "u3") as u3:
        await u2.follow("u1")
        for number in range(1, 23):
            if number == 11:
                await u3.follow("u1")
            await u1.post(f"post {number}")
    texts = [f"post {number}" for number in range(22, 0, -1)]
    assert [post.text for post in await read(cluster, "u2", 20)] == texts[:20]
    assert [post.text for post in await read(cluster, "u3", 12)] == texts[:12]


def test_killed_processes_are_back(cluster: Cluster) -> None:
    for vm in cluster.server_vms:
        for role in ("master", "slave"):
            cluster.await_spares()
            dead = cluster.kill(vm, role)[0]
            cluster.await_role(vm, role, other_than=dead.pid)
    cluster.await_available()
    for vm in cluster.server_vms:
        eventually(partial(_all_running, cluster, vm), 10)


def _all_running(cluster: Cluster, vm: str) -> bool:
    return cluster.supervisorctl(vm, "status", code=None).stdout.count("RUNNING") == 2


async def test_the_next_call_and_the_open_timeline_outlive_the_available_master(cluster: Cluster) -> None:
    author, reader = (f"{name}{secrets.token_hex(4)}" for name in ("eve", "dan"))
    async with client(cluster, author) as eve, client(cluster, reader) as dan:
        await dan.follow(author)
        seen: list[str] = []

        async def follow() -> None:
            async for post in dan.timeline():
                seen.append(post.text)

        reading = asyncio.create_task(follow())
        for number in range(6):
            if number in (2, 4):
                await asyncio.to_thread(_kill_the_available, cluster)
            await eve.post(f"news {number}")
            await eventually_async(partial(seen.__contains__, f"news {number}"), 10)
        assert seen == [f"news {number}" for number in range(6)]
        reading.cancel()


def _kill_the_available(cluster: Cluster) -> None:
    """Kill the available master while the other server is there, and wait until the router offers that one."""
    available = cluster.await_available()
    eventually(lambda: _states(cluster) == ["AVAILABLE", "STANDBY"], 10)
    cluster.kill(available, "master")
    eventually(lambda: cluster.status()["available"] not in (None, available), 10)


def _states(cluster: Cluster) -> list[str]:
    return sorted(server["state"] for server in cluster.status()["servers"])


async def test_no_server_at_all_is_a_clear_error(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.ctl, "stop", "slave")
    await asyncio.to_thread(cluster.ctl, "stop", "master")
    status = await asyncio.to_thread(cluster.status_json)
    assert status["available"] is None
    assert {server["state"] for server in status["servers"]} == {"DOWN"}
    assert all(server["master"]["pid"] is None for server in status["servers"])
    with pytest.raises(Unavailable, match=r"cannot .*no server"):
        async with Client([f"127.0.0.1:{cluster.ports['vm1']}"], "fay", deadline_s=1):
            pytest.fail("somebody answered")
    await asyncio.to_thread(cluster.ctl, "start", "slave")
    await asyncio.to_thread(cluster.await_available)


async def test_everything_is_the_same_after_a_stop_and_a_start(cluster: Cluster) -> None:
    async with client(cluster, "kim") as kim, client(cluster, "lou") as lou:
        await lou.follow("kim")
        for number in range(25):
            await kim.post(f"kept {number}")
        before = await kim.list()
    shown = [(post.username, post.time, post.text) for post in await read(cluster, "lou", 20)]
    await asyncio.to_thread(cluster.stop)
    assert not cluster.processes()
    assert not cluster.bound_ports()
    await asyncio.to_thread(cluster.start)
    async with client(cluster, "kim") as kim:
        assert await kim.list() == before
    assert [(post.username, post.time, post.text) for post in await read(cluster, "lou", 20)] == shown


def test_a_frozen_master_does_not_hold_up_the_status(cluster: Cluster) -> None:
    available = cluster.await_available()
    cluster.ctl("pause", available)
    try:
        frozen = cluster.signal(available, "master", signal.SIGSTOP)
        status = cluster.status_json()
        state = next(server["state"] for server in status["servers"] if server["vm"] == available)
        assert state in ("SUSPECT", "DOWN")
        cluster.signal(available, "master", signal.SIGCONT)
        assert cluster.pid(available, "master") == frozen.pid  # paused: nobody shot it
    finally:
        cluster.ctl("resume", available)
    cluster.await_available()


def test_launch_script_starts_what_the_spec_knows(cluster: Cluster) -> None:
    environment = cluster.environment | {"SNS_SPEC": str(cluster.spec), "SNS_HOME": str(cluster.home)}

    def launch(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(LAUNCH), *arguments],
            env=environment,
            input=said,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    cluster.stop()
    assert launch("r", "127.0.0.1").returncode == 0
    assert launch("s", "127.0.0.1", "127.0.0.1").returncode == 0
    cluster.await_available()
    talk = launch("c", "127.0.0.1", "gus", said="LIST\nQUIT\n")
    assert talk.returncode == 0
    assert "gus" in talk.stdout
    assert launch("r", "127.0.0.9").returncode == 2
    assert launch("s", "127.0.0.1", "127.0.0.9").returncode == 2
