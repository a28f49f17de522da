"""The client for programs without an event loop: the same promises, from plain threads."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from snsnode.base.errors import AlreadyDone, DeadlineExceeded, InvalidInput, NotAllowed, NotFound, Unavailable
from snsnode.client import Connected, Event, Post, SyncClient, background
from tests.client_rig import Cluster, running
from tests.eventually import eventually, eventually_async
from tests.ports import free_port

pytestmark = pytest.mark.integration

WITHIN_S = 10.0


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two servers and a router; afterwards no thread of a client is left."""
    async with running(tmp_path) as cluster:
        yield cluster
    assert not client_threads()


def client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "sns-client"]


async def test_calls_are_those_of_the_client(cluster: Cluster) -> None:
    def talk() -> None:
        with SyncClient(cluster.targets, "alice") as alice, SyncClient(cluster.targets, username="bob") as bob:
            assert client_threads() == ["sns-client"]
            assert bob.username == "bob"
            alice.follow("bob")
            posted = bob.post("hello")
            assert (posted.username, posted.text) == ("bob", "hello")
            assert bob.list() == (["alice", "bob"], ["alice"])
            with alice.timeline() as timeline:
                assert next(timeline) == posted
                later = bob.post("later")
                assert next(timeline) == later
            assert list(timeline) == []
            timeline.close()
            alice.unfollow("bob")
            assert bob.list()[1] == []
        assert client_threads() == []

    await asyncio.to_thread(talk)


async def test_refusals_and_misuse_are_raised_as_by_the_client(cluster: Cluster) -> None:
    def talk() -> None:
        alice = SyncClient(cluster.targets, "alice")
        with pytest.raises(NotAllowed, match="not logged in; call inside 'with'"):
            alice.post("too early")
        with alice:
            with pytest.raises(NotFound, match="nobody"):
                alice.follow("nobody")
            with pytest.raises(InvalidInput):
                alice.post(" ")
            with pytest.raises(NotAllowed, match="already"):
                alice.__enter__()
            with pytest.raises(AlreadyDone, match="alice"), SyncClient(cluster.targets, "alice"):
                pass
            timeline = alice.timeline()
            assert timeline.history() == []
        assert list(timeline) == timeline.history() == []
        timeline.close()
        with pytest.raises(NotAllowed):
            alice.list()
        alice.__exit__(None, None, None)
        with alice:  # a second time
            alice.post("again")

    await asyncio.to_thread(talk)


async def test_name_is_free_after_a_body_that_raised(cluster: Cluster) -> None:
    def talk() -> None:
        with pytest.raises(ZeroDivisionError), SyncClient(cluster.targets, "alice"):
            raise ZeroDivisionError
        with SyncClient(cluster.targets, "alice"):
            pass

    await asyncio.to_thread(talk)


async def test_nobody_there_is_said_within_the_deadline_and_no_thread_is_left() -> None:
    def talk() -> None:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="cannot log in as alice"):
            SyncClient([f"127.0.0.1:{free_port()}"], "alice", deadline_s=0.3).__enter__()
        assert time.monotonic() - began < 6.0
        assert client_threads() == []

    await asyncio.to_thread(talk)


async def test_timeline_survives_a_failover_and_break_leaves_nothing_open(cluster: Cluster) -> None:
    def talk() -> None:
        with SyncClient(cluster.targets, "alice") as alice, SyncClient(cluster.targets, "bob") as bob:
            alice.follow("bob")
            bob.post("first")
            for _ in range(20):  # a server ends the oldest of more than 8
                for post in alice.timeline():
                    assert post.text == "first"
                    break
            timeline = alice.timeline()
            assert [post.text for post in timeline.history()] == ["first"]
            cluster.servers[0].kill()
            sent = [bob.post(str(number)).text for number in range(30)]
            assert [next(timeline).text for _ in sent] == sent

    await asyncio.to_thread(talk)


async def test_several_threads_may_call_one_client(cluster: Cluster) -> None:
    def talk() -> None:
        with SyncClient(cluster.targets, "alice") as alice:
            posts: list[Post] = []
            threads = [
                threading.Thread(target=lambda: posts.extend(alice.post("x") for _ in range(20))) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WITHIN_S)
            assert len({post.post_id for post in posts}) == 160

    await asyncio.to_thread(talk)


async def test_threads_share_a_timeline_and_another_one_may_close_it(cluster: Cluster) -> None:
    def talk() -> None:
        with SyncClient(cluster.targets, "alice") as alice, SyncClient(cluster.targets, "bob") as bob:
            alice.follow("bob")
            timeline = alice.timeline()
            seen: list[str] = []

            def read() -> None:
                for post in timeline:
                    seen.append(post.text)

            readers = [threading.Thread(target=read) for _ in range(3)]
            for reader in readers:
                reader.start()
            sent = [bob.post(str(number)).text for number in range(30)]
            eventually(lambda: len(seen) >= len(sent), within_s=WITHIN_S)
            timeline.close()
            for reader in readers:
                reader.join(WITHIN_S)
                assert not reader.is_alive()
            assert sorted(seen, key=int) == sent

    await asyncio.to_thread(talk)


async def test_logout_in_one_thread_ends_the_calls_of_another(cluster: Cluster) -> None:
    def talk() -> None:
        client = SyncClient(cluster.targets, "alice")
        client.__enter__()
        timeline = client.timeline()
        ended: list[object] = []
        reader = threading.Thread(target=lambda: ended.append(list(timeline)))
        reader.start()
        time.sleep(0.2)
        client.__exit__(None, None, None)
        reader.join(WITHIN_S)
        assert ended == [[]]

    await asyncio.to_thread(talk)


async def test_client_cannot_be_called_from_its_own_callback(cluster: Cluster) -> None:
    refused: list[str] = []
    told: list[Event] = []

    def on_event(event: Event) -> None:
        told.append(event)
        for call in (lambda: client.post("from within"), lambda: client.__exit__(None, None, None)):
            try:
                call()
            except NotAllowed as error:
                refused.append(error.message)

    client = SyncClient(cluster.targets, "alice", on_event=on_event)

    def talk() -> None:
        with client:
            client.post("hello")
            cluster.servers[0].kill()
            client.post("again")

    await asyncio.to_thread(talk)
    assert isinstance(told[-1], Connected)
    assert any("cannot call from on_event" in message for message in refused)


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), ValueError()])
async def test_callback_that_raises_ends_neither_its_client_nor_another(
    cluster: Cluster, raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def on_event(event: Event) -> None:
        raise raised

    def talk() -> None:
        with (
            SyncClient(cluster.targets, "bob") as bob,
            SyncClient(cluster.targets, "alice", on_event=on_event) as alice,
        ):
            assert alice.post("hello").text == "hello"
            assert bob.post("hello").text == "hello"

    await asyncio.to_thread(talk)
    assert any("on_event failed" in record.message for record in caplog.records)


async def test_inside_a_running_event_loop_it_blocks_that_loop_and_works(cluster: Cluster) -> None:
    client = SyncClient(cluster.targets, "alice")
    await asyncio.to_thread(client.__enter__)  # this test's loop has the router, which the login needs
    assert client.post("hello").text == "hello"
    await asyncio.to_thread(client.__exit__, None, None, None)


INTERRUPTED = """
import sys
from snsnode.client import SyncClient
with SyncClient(sys.argv[1:], "alice") as alice:
    alice.follow("bob")
    timeline = alice.timeline()
    for _ in range(3):
        print("waiting", flush=True)
        try:
            next(timeline)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    print(alice.post("mine").text, flush=True)
    while True:
        print(next(timeline).text, flush=True)
"""


async def test_wait_that_is_interrupted_ends_and_the_logout_is_not_cut_off(cluster: Cluster) -> None:
    def talk() -> None:
        with SyncClient(cluster.targets, "bob") as bob:
            process = subprocess.Popen(
                [sys.executable, "-c", INTERRUPTED, *cluster.targets],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            try:
                for _ in range(3):
                    assert process.stdout.readline() == "waiting\n"
                    time.sleep(0.1)
                    process.send_signal(signal.SIGINT)
                    assert process.stdout.readline() == "interrupted\n"
                assert process.stdout.readline() == "mine\n"
                for text in ("one", "two"):
                    bob.post(text)
                    assert process.stdout.readline() == f"{text}\n"
                time.sleep(0.1)  # until it waits again: what is interrupted here is a wait
                process.send_signal(signal.SIGINT)
                _, error = process.communicate(timeout=WITHIN_S)
            finally:
                process.kill()
                process.communicate()
            assert process.returncode == -signal.SIGINT, error
            assert error.count("Traceback") == 1, error  # the KeyboardInterrupt's own
            assert error.rstrip().endswith("KeyboardInterrupt"), error
        with SyncClient(cluster.targets, "alice"):
            pass

    await asyncio.to_thread(talk)


async def test_post_that_came_just_when_its_wait_was_interrupted_is_not_lost(cluster: Cluster) -> None:
    def talk() -> None:
        with SyncClient(cluster.targets, "alice") as alice, SyncClient(cluster.targets, "bob") as bob:
            alice.follow("bob")
            timeline = alice.timeline()
            timeline.history()
            # What an interrupt leaves behind: a wait that goes on, for a post that comes after it.
            pending = timeline._pending = timeline._background.start(_anext(timeline))
            bob.post("one")
            eventually(lambda: pending._ended.is_set(), within_s=WITHIN_S)
            bob.post("two")
            assert next(timeline).text == "one"
            assert next(timeline).text == "two"
            pending = timeline._pending = timeline._background.start(_anext(timeline))
            bob.post("three")
            eventually(lambda: pending._ended.is_set(), within_s=WITHIN_S)
            assert [post.text for post in timeline.history()] == ["three"]
            timeline._pending = timeline._background.start(_anext(timeline))
            assert timeline.history() == []
            bob.post("four")
            assert next(timeline).text == "four"

    await asyncio.to_thread(talk)


async def _anext(timeline: object) -> Post | None:
    return await anext(timeline._timeline, None)  # type: ignore[attr-defined]


async def test_call_that_times_out_is_said_so(cluster: Cluster) -> None:
    def talk() -> None:
        with SyncClient(cluster.targets, "alice", deadline_s=0.5) as alice:
            for server in cluster.servers:
                server.kill()
            with pytest.raises((Unavailable, DeadlineExceeded), match="cannot post"):
                alice.post("lost")

    await asyncio.to_thread(talk)
    await eventually_async(lambda: not client_threads(), within_s=WITHIN_S)


def test_next_loop_begins_when_the_one_before_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpc.aio has one completion queue for a process: two loops would wake each other up."""
    may_end = threading.Event()
    end = background.Background.end

    def end_later(ending: background.Background) -> None:
        may_end.wait(WITHIN_S)
        end(ending)

    monkeypatch.setattr(background.Background, "end", end_later)
    taken: list[background.Background] = []
    first = background.acquire()
    leaving = threading.Thread(target=background.release, args=(first,))
    leaving.start()
    eventually(lambda: background._shared is None, WITHIN_S)
    coming = threading.Thread(target=lambda: taken.append(background.acquire()))
    coming.start()
    time.sleep(0.1)
    assert not taken
    assert len(client_threads()) == 1
    may_end.set()
    for thread in (leaving, coming):
        thread.join(WITHIN_S)
    assert taken and taken[0] is not first
    assert len(client_threads()) == 1
    background.release(taken[0])
    assert client_threads() == []


NO_THREAD = """
import os, resource, threading
from snsnode.base.errors import Exhausted
from snsnode.client import SyncClient
if os.geteuid() == 0:  # root is not held to it
    os.setgroups([]), os.setgid(65534), os.setuid(41_417)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    SyncClient(["127.0.0.1:9"], "anna").__enter__()
except Exhausted as error:
    print(error.message)
"""


NO_DESCRIPTOR = """
import os, resource, sys
from snsnode.base.errors import Exhausted
from snsnode.client import SyncClient
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, limits[1]))
try:
    SyncClient(sys.argv[1:], "anna").__enter__()
except Exhausted as error:
    print(error.message)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
with SyncClient(sys.argv[1:], "anna") as anna:
    print(anna.post("hello").text)
"""


async def test_thread_or_loop_that_cannot_start_is_said_at_once(cluster: Cluster) -> None:
    """It waited for ever for a thread that had died of too few descriptors."""
    for script, words in ((NO_THREAD, "can't start new thread"), (NO_DESCRIPTOR, "Too many open files")):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", script, *cluster.targets],
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=True,
        )
        first, *rest = done.stdout.splitlines()
        assert first.startswith("cannot start the client's thread: ") and words in first
        assert rest == ([] if script is NO_THREAD else ["hello"])
