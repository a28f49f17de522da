"""The client library against real servers: what it does while nothing fails, and what it refuses."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from snsnode.base.errors import AlreadyDone, DeadlineExceeded, InvalidInput, NotAllowed, NotFound, Unavailable
from snsnode.client import Client, Event, retry
from tests.client_rig import Cluster, running
from tests.eventually import eventually_async
from tests.ports import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(tmp_path, servers=1) as cluster:
        yield cluster


async def test_two_users_follow_post_and_list(cluster: Cluster) -> None:
    async with Client(cluster.targets, "alice") as alice, Client(cluster.targets, "bob") as bob:
        await alice.follow("bob")
        posted = await bob.post("hello\nworld")
        assert (posted.username, posted.text) == ("bob", "hello\nworld")
        assert abs(posted.time - datetime.now(UTC)) < timedelta(seconds=5)
        assert await bob.list() == (["alice", "bob"], ["alice"])
        timeline = alice.timeline()
        assert await anext(timeline) == posted
        later = await bob.post("later")
        assert await anext(timeline) == later
        await alice.unfollow("bob")
        assert await bob.list() == (["alice", "bob"], [])


async def test_timeline_shows_the_last_20_newest_first_and_then_live(cluster: Cluster) -> None:
    async with Client(cluster.targets, "u1") as u1, Client(cluster.targets, "u2") as u2:
        await u2.follow("u1")
        for number in range(22):
            await u1.post(f"post {number}")
        timeline = u2.timeline()
        assert [post.text for post in await timeline.history()] == [f"post {n}" for n in range(21, 1, -1)]
        await u1.post("live")
        assert (await anext(timeline)).text == "live"


async def test_several_timelines_of_one_client_each_show_everything(cluster: Cluster) -> None:
    async with Client(cluster.targets, "alice") as alice, Client(cluster.targets, "bob") as bob:
        await alice.follow("bob")
        timelines = [alice.timeline() for _ in range(3)]
        for timeline in timelines:
            assert await timeline.history() == []
        await bob.post("one")
        assert [(await anext(timeline)).text for timeline in timelines] == ["one"] * 3


async def test_own_posts_are_in_the_history_and_not_echoed_live(cluster: Cluster) -> None:
    async with Client(cluster.targets, "alice") as alice:
        await alice.post("mine")
        timeline = alice.timeline()
        assert [post.text for post in await timeline.history()] == ["mine"]
        await alice.post("mine again")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(timeline)


async def test_long_lists_come_whole(cluster: Cluster) -> None:
    names = sorted(f"user{number:03}" for number in range(230))
    async with Client(cluster.targets, "star") as star:
        for name in names:
            async with Client(cluster.targets, name) as fan:
                await fan.follow("star")
        assert await star.list() == (sorted([*names, "star"]), names)


async def test_refusals_are_raised_at_once_in_words(cluster: Cluster) -> None:
    began = time.monotonic()
    async with Client(cluster.targets, "alice") as alice, Client(cluster.targets, "bob"):
        with pytest.raises(NotFound, match="nobody"):
            await alice.follow("nobody")
        with pytest.raises(NotAllowed):
            await alice.follow("alice")
        with pytest.raises(NotAllowed):
            await alice.unfollow("bob")
        await alice.follow("bob")
        with pytest.raises(AlreadyDone, match="bob"):
            await alice.follow("bob")
        for text in ("", " \n", "x" * 4097, "\x1b[2J", "\ud800"):
            with pytest.raises(InvalidInput):
                await alice.post(text)
        with pytest.raises(InvalidInput):
            await alice.follow("no such\nname")
    assert time.monotonic() - began < 10.0


async def test_name_that_is_taken_is_refused_at_once_and_free_after_the_body(cluster: Cluster) -> None:
    async with Client(cluster.targets, "alice"):
        began = time.monotonic()
        with pytest.raises(AlreadyDone, match="alice"):
            async with Client(cluster.targets, "alice"):
                pass
        assert time.monotonic() - began < 5.0
    for _ in range(20):
        async with Client(cluster.targets, "alice"):
            pass


async def test_name_is_free_after_a_body_that_raised_or_was_cancelled(cluster: Cluster) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Client(cluster.targets, "alice"):
            raise ZeroDivisionError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), Client(cluster.targets, "alice"):
            await asyncio.Event().wait()
    async with Client(cluster.targets, "alice"):
        pass


async def test_end_of_the_session_does_not_take_the_name_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the session before it answers the logout; that end must not start a login."""
    monkeypatch.setattr(retry, "STEADY_S", 0.0)  # a session that was lost is logged in again at once
    for _ in range(50):
        async with Client(cluster.targets, "alice"):
            pass


async def test_client_can_be_entered_again(cluster: Cluster) -> None:
    client = Client(cluster.targets, "alice")
    for _ in range(2):
        async with client:
            await client.post("hello")
            with pytest.raises(NotAllowed):
                await client.__aenter__()
    with pytest.raises(NotAllowed, match="not logged in"):
        await client.post("late")


async def test_name_is_free_after_a_cancellation_that_came_during_the_logout(cluster: Cluster) -> None:
    leaving = asyncio.Event()

    async def visit() -> None:
        async with Client(cluster.targets, "alice"):
            leaving.set()

    visitor = asyncio.create_task(visit())
    await leaving.wait()  # the logout has begun by now, and needs an answer
    visitor.cancel()
    await asyncio.wait((visitor,))
    assert visitor.cancelled()
    async with Client(cluster.targets, "alice"):
        pass


async def test_cancelled_calls_leave_the_client_usable(cluster: Cluster) -> None:
    async with Client(cluster.targets, "alice") as alice:
        for _ in range(20):
            task = asyncio.create_task(alice.post("cancelled"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await alice.post("hello")


async def test_wait_for_the_next_post_may_time_out_and_go_on(cluster: Cluster) -> None:
    events: list[Event] = []
    async with (
        Client(cluster.targets, "alice", on_event=events.append) as alice,
        Client(cluster.targets, "bob") as bob,
    ):
        await alice.follow("bob")
        timeline = alice.timeline()
        seen = []
        for number in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await anext(timeline)
            await bob.post(str(number))
            seen.append((await anext(timeline)).text)
        assert seen == ["0", "1", "2", "3", "4"]
        assert len(events) == 1, "a cancelled wait was taken for a broken link"


async def test_timeline_ends_when_its_client_leaves(cluster: Cluster) -> None:
    async with Client(cluster.targets, "alice") as alice:
        timeline = alice.timeline()
        reading = asyncio.create_task(anext(timeline, None))
        await timeline_opened(reading)
    assert await asyncio.wait_for(reading, 10.0) is None


async def timeline_opened(reading: asyncio.Task[object]) -> None:
    """Give a reader the time to open its stream."""
    await asyncio.wait((reading,), timeout=0.2)
    assert not reading.done()


async def test_nothing_runs_on_after_the_body(cluster: Cluster) -> None:
    before = len(asyncio.all_tasks())  # the router of the rig has some, and replaces them
    async with Client(cluster.targets, "alice") as alice:
        await alice.post("hello")
        async for _ in alice.timeline():
            break
        await alice.timeline().history()
    await eventually_async(lambda: len(asyncio.all_tasks()) <= before, within_s=10.0)


@pytest.mark.parametrize(
    "routers", [[], ["127.0.0.1"], ["127.0.0.1:0"], ["127.0.0.1:65536"], ["a b:1"], [":3010"]]
)
def test_malformed_routers_are_refused(routers: list[str]) -> None:
    with pytest.raises(InvalidInput, match="host:port"):
        Client(routers, "alice")


def test_other_malformed_arguments_are_refused() -> None:
    with pytest.raises(InvalidInput, match="host:port"):
        Client("127.0.0.1:3010", "alice")
    with pytest.raises(InvalidInput, match="user name"):
        Client(["127.0.0.1:3010"], "al ice")
    for deadline_s in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="deadline_s"):
            Client(["127.0.0.1:3010"], "alice", deadline_s=deadline_s)
    Client(["[::1]:3010", "localhost:3010"], "alice")


async def test_nobody_there_is_said_within_the_deadline() -> None:
    target = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        async with Client([target], "alice", deadline_s=0.5):
            pass
    assert 0.4 < time.monotonic() - began < 4.0
    assert caught.value.message == (
        f"cannot log in as alice: no server answered within 0.5 s (router {target}: Connection refused)"
    )


def test_import_is_light() -> None:
    heavy = "('click', 'pydantic', 'rich', 'prompt_toolkit', 'yaml', 'jinja2', 'snsnode.rpc.health_pb2')"
    code = f"import sys, snsnode.client; sys.exit(str([m for m in {heavy} if m in sys.modules] or '') or 0)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


async def test_names_in_another_case_are_found_or_refused_in_words(cluster: Cluster) -> None:
    async with Client(cluster.targets, "anna"), Client(cluster.targets, "bob") as bob:
        await bob.follow("Anna")
        await bob.unfollow("ANNA")
        with pytest.raises(NotAllowed, match=r"'ANNA'.* log in as 'anna'"):
            await Client(cluster.targets, "ANNA").__aenter__()
        assert (await bob.list())[0] == ["anna", "bob"]
    with pytest.raises(InvalidInput, match=r"'Åsa' as a user name: .* without accents"):
        Client(cluster.targets, "Åsa")


async def test_login_that_a_server_did_not_answer_says_that_the_user_may_exist(cluster: Cluster) -> None:
    async with Client(cluster.targets, "bob"):
        cluster.servers[0].signal(signal.SIGSTOP)
        with pytest.raises((Unavailable, DeadlineExceeded), match="a new user carol may exist now"):
            await Client(cluster.targets, "carol", deadline_s=1.5).__aenter__()
        cluster.servers[0].signal(signal.SIGCONT)
    with pytest.raises(Unavailable) as nobody:
        await Client([f"127.0.0.1:{free_port()}"], "carol", deadline_s=0.3).__aenter__()
    assert "may exist" not in nobody.value.message
