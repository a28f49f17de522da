"""The limits of a server: whoever asks for too much waits, or is refused, and hurts nobody else."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import grpc
import pytest

from snsnode.base.ids import TEXT_BYTES_MAX, RequestId, UserName
from snsnode.rpc import social_pb2 as pb
from snsnode.rpc import social_pb2_grpc
from snsnode.social import requests, sessions
from snsnode.social import service as social_service
from snsnode.social.service import SocialService
from snsnode.transport.admission import Bound, Bounds
from snsnode.transport.handlers import REQUEST_MAX_BYTES
from snsnode.transport.servers import bind, make_server
from tests.eventually import eventually_async
from tests.memory_store import MemoryStore
from tests.ports import free_port
from tests.social_rig import STEP_S, RawClient, Server, code_of, error_of, store_in

pytestmark = pytest.mark.integration

MANY_USERS = 50_000
FLOOD_POSTS = 25_000
FLOOD_TEXT = "x" * 4000  # 100 MB in all
GROWTH_MAX_BYTES = 64 * 2**20  # up to 40 MiB were seen, however many the posts; without a bound it is all of them
FLOOD_WITHIN_S = 60.0


# --- pages -----------------------------------------------------------------------------------------------------


async def test_list_gives_all_of_50000_users_and_followers_in_pages(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        names = [f"user{number:05}" for number in range(MANY_USERS)]
        with apsw.Connection(str(tmp_path / "sns.db")) as db:
            db.executemany("INSERT INTO users VALUES (?, 0)", ((name,) for name in names))
            db.executemany("INSERT INTO follows VALUES (?, 'alice', 0)", ((name,) for name in names))
        async with Server(store).running() as server, RawClient(server.target, "alice") as alice:
            users: list[str] = []
            followers: list[str] = []
            pages = 0
            more = True
            while more:
                reply = await alice.list(
                    users_after=users[-1] if users else "", followers_after=followers[-1] if followers else ""
                )
                assert len(reply.users) <= requests.PAGE_NAMES_MAX
                users += reply.users
                followers += reply.followers
                more = reply.more_users or reply.more_followers
                pages += 1
            assert users == ["alice", *names]
            assert followers == names
            assert pages == MANY_USERS // requests.PAGE_NAMES_MAX + 1


# --- calls in flight --------------------------------------------------------------------------------------------


@asynccontextmanager
async def held_server(bounds: Bounds | None = None) -> AsyncIterator[tuple[str, MemoryStore]]:
    """Serve a store whose reads of ``users`` wait until the gate is opened."""
    store = MemoryStore()
    store.gates["users"] = asyncio.Event()
    service = SocialService(store, on_fenced=lambda: None)
    target = f"127.0.0.1:{free_port()}"
    server = make_server(bounds=bounds)
    server.add(social_pb2_grpc.add_SNSServiceServicer_to_server, service)
    bind(server, target)
    run = asyncio.create_task(service.run())
    await asyncio.sleep(0)
    await server.start()
    try:
        yield target, store
    finally:
        store.gates["users"].set()
        await server.stop(None)
        run.cancel()
        await asyncio.wait((run,))


def lists(client: RawClient, number: int) -> list[Any]:
    return [client.stub.List(pb.ListRequest(caller=client.caller), timeout=STEP_S) for _ in range(number)]


async def test_calls_beyond_a_logins_limit_are_refused_whatever_its_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "CALLS_MAX", 64)
    async with held_server() as (target, store), RawClient(target, "alice") as alice:
        others = [RawClient(target, "alice") for _ in range(3)]
        clients = [alice, *others]
        calls = [call for client in clients for call in lists(client, sessions.CALLS_MAX // 4)]
        await eventually_async(lambda: store.calls.count("users") == sessions.CALLS_MAX, within_s=STEP_S)
        error = await error_of(lists(alice, 1)[0])
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert code_of(error) == "exhausted"
        assert f"{sessions.CALLS_MAX} calls of this login are in flight" in (error.details() or "")
        async with RawClient(target, "bob") as bob:
            await bob.post("hello")
        store.gates["users"].set()
        await asyncio.gather(*calls)
        await asyncio.gather(*lists(alice, 1))  # and then it is served again
        for client in others:
            await client.channel.close()


async def test_calls_beyond_the_servers_limit_are_refused_and_the_next_are_served() -> None:
    async with (
        held_server(Bounds(inside=Bound(10, 10, 30.0))) as (target, store),
        RawClient(target, "alice") as alice,
    ):
        calls = lists(alice, 10)
        await eventually_async(lambda: store.calls.count("users") == 10, within_s=STEP_S)
        error = await error_of(lists(alice, 1)[0])
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert code_of(error) == "full"
        store.gates["users"].set()
        await asyncio.gather(*calls)
        await alice.post("hello")


async def test_logins_beyond_their_bound_are_refused_and_hold_up_nobody_who_is_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(social_service, "ADMITTING_MAX", 5)
    async with held_server() as (target, store), RawClient(target, "alice") as alice:
        store.gates["login"] = asyncio.Event()
        crowd = [RawClient(target, f"user{number}") for number in range(6)]
        waiting = [asyncio.create_task(client.login()) for client in crowd[:5]]
        await eventually_async(lambda: store.calls.count("login") == 6, within_s=STEP_S)  # alice's was the first
        for refused in (crowd[5].login(), alice.logout()):
            error = await error_of(refused)
            assert code_of(error) == "full"
            assert "cannot log in or out: 5 do already" in (error.details() or "")
        await alice.post("hello")
        store.gates["login"].set()
        await asyncio.gather(*waiting)
        await crowd[5].login()
        for client in crowd:
            await client.channel.close()


# --- sizes ------------------------------------------------------------------------------------------------------


async def test_texts_and_messages_are_bounded() -> None:
    async with held_server() as (target, _), RawClient(target, "alice") as alice:
        await alice.post("x" * TEXT_BYTES_MAX)
        request = pb.PostRequest(caller=alice.caller, request_id="r", text="x" * (TEXT_BYTES_MAX + 1))
        error = await error_of(alice.stub.Post(request, timeout=STEP_S))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"at most {TEXT_BYTES_MAX}" in (error.details() or "")
        request.text = "x" * REQUEST_MAX_BYTES
        error = await error_of(alice.stub.Post(request, timeout=STEP_S))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await alice.post("hello")


# --- streams ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def server_process(home: Path) -> AsyncIterator[tuple[str, int]]:
    """Serve the store in ``home`` in a process of its own; its address and pid."""
    port = free_port()
    process = _started(home / "sns.db", port)
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"serving\n"
        yield f"127.0.0.1:{port}", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STEP_S)


def _started(store: Path, port: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.social_server", str(store), str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process that is no file's."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


async def test_stalled_readers_cost_little_and_hold_nobody_up(tmp_path: Path) -> None:
    posts = int(os.environ.get("SNS_TEST_FLOOD_POSTS", FLOOD_POSTS))
    async with (
        store_in(tmp_path) as store,
        server_process(tmp_path) as (target, pid),
        RawClient(target, "author"),
        RawClient(target, "stalled") as stalled,
        RawClient(target, "reader") as reader,
    ):
        await stalled.follow("author")
        await reader.follow("author")
        stuck = [await stalled.open() for _ in range(sessions.TIMELINES_MAX)]
        async with reader.timeline() as seen:
            before = memory_bytes(pid)
            await flood(store, posts)
            await eventually_async(lambda: len(seen.live) == posts, within_s=FLOOD_WITHIN_S)
            assert [post.text for post in seen.live] == [f"{n} {FLOOD_TEXT}" for n in range(posts)]
        growth = memory_bytes(pid) - before
        sys.stdout.write(f"the server grew by {growth / 2**20:.1f} MiB\n")
        assert growth < GROWTH_MAX_BYTES
        # And who reads again misses nothing.
        assert await numbers_of(stuck[0], posts) == list(range(posts))


async def flood(store: Any, posts: int) -> None:
    async def write(numbers: range) -> None:
        for number in numbers:
            await asyncio.gather(
                *(
                    store.post(UserName("author"), RequestId(uuid.uuid4().hex), f"{each} {FLOOD_TEXT}")
                    for each in range(number, min(number + 200, posts))
                )
            )

    await write(range(0, posts, 200))


async def numbers_of(timeline: Any, posts: int) -> list[int]:
    numbers: list[int] = []
    async with asyncio.timeout(FLOOD_WITHIN_S):
        while len(numbers) < posts:
            reply = await timeline.read()
            if reply.WhichOneof("kind") == "live":
                numbers.append(int(reply.live.text.partition(" ")[0]))
    return numbers
