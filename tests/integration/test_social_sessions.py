"""Logins over real gRPC and the real engine: one live client a name, leases, loss, and leaving."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from snsnode.base.errors import Exhausted, Fenced, NotFound
from snsnode.base.ids import ClientId, UserName
from snsnode.rpc import social_pb2 as pb
from snsnode.store.protocol import Login, NoWriter
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.eventually import eventually_async
from tests.memory_store import MemoryStore
from tests.social_rig import RawClient, Server, code_of, error_of, serving

__all__ = ["bounded_in_time", "nothing_left_behind"]


async def test_second_client_of_a_live_name_is_refused_and_the_first_may_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, RawClient(server.target, "ann", "a1") as ann:
        refused = await error_of(RawClient(server.target, "ann", "a2").login())
        assert refused.code() is grpc.StatusCode.ALREADY_EXISTS
        assert "'ann'" in (refused.details() or "")
        again = await ann.login()
        assert again.resumed
        assert again.lease_ms == 4000
        assert server.service.clients == 1


async def test_client_goes_on_at_another_server_after_logging_in_there_with_the_same_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as here, serving(tmp_path) as there, RawClient(here.target, "ann") as ann:
        await ann.post("here", "r1")
        moved = RawClient(there.target, "ann")
        lost = await error_of(moved.post("there", "r2"))
        assert lost.code() is grpc.StatusCode.UNAUTHENTICATED
        assert code_of(lost) == "session-lost"
        assert (await moved.login()).resumed
        assert await moved.post("there", "r2") == 2
        assert await moved.post("here", "r1") == 1  # the first answer, replayed
        await moved.channel.close()


async def test_logout_frees_the_name_at_once_and_ends_its_streams(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, RawClient(server.target, "ann", "a1") as ann:
        link, timeline = await ann.session(), await ann.open()
        await ann.logout()
        for stream in (link, timeline):
            assert code_of(await error_of(stream)) == "session-lost"
        assert server.service.clients == 0
        async with RawClient(server.target, "ann", "a2"):
            assert server.service.clients == 1


async def test_dead_client_is_forgotten_within_five_seconds_and_a_live_one_is_not(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, RawClient(server.target, "bob", "b1") as bob:
        linked = await bob.session()
        ann = RawClient(server.target, "ann", "a1")
        await ann.login()
        await ann.session()
        await ann.channel.close()
        died_s = time.monotonic()
        heir, thief = RawClient(server.target, "ann", "a2"), RawClient(server.target, "bob", "b2")

        async def logged_in() -> bool:
            assert code_of(await error_of(thief.login())) == "already"
            try:
                return not (await heir.login()).resumed
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.ALREADY_EXISTS
                return False

        # Without a renewal bob's lease would run out before this.
        await eventually_async(logged_in, within_s=7, every_s=0.05)
        assert 2.5 < time.monotonic() - died_s < 5.5
        assert code_of(await error_of(thief.login())) == "already"
        linked.cancel()
        await asyncio.gather(heir.channel.close(), thief.channel.close())


async def test_client_that_dies_before_it_opened_a_stream_is_forgotten_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        ann = RawClient(server.target, "ann", "a1")
        await ann.login()
        await ann.channel.close()
        heir = RawClient(server.target, "ann", "a2")

        async def logged_in() -> bool:
            try:
                return bool(await heir.login())
            except grpc.aio.AioRpcError:
                return False

        await eventually_async(logged_in, within_s=6, every_s=0.05)
        await heir.channel.close()


async def test_login_that_another_client_took_ends_its_streams_and_is_forgotten(tmp_path: Path) -> None:
    async with serving(tmp_path) as here, serving(tmp_path) as there, RawClient(here.target, "ann", "a1") as ann:
        link, timeline = await ann.session(), await ann.open()
        # A server that was frozen while its clients' leases ran out looks like this to the store.
        await there.store.logout(_login("ann", "a1"))
        async with RawClient(there.target, "ann", "a2") as other:
            for stream in (link, timeline):
                error = await error_of(stream)
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED
                assert code_of(error) == "session-lost"
            assert code_of(await error_of(ann.post("text"))) == "session-lost"
            assert code_of(await error_of(ann.login())) == "already"
            assert here.service.clients == 0
            await other.post("text")


async def test_newer_session_stream_of_one_login_counts(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, RawClient(server.target, "ann") as ann:
        older, newer = await ann.session(), await ann.session()
        assert code_of(await error_of(older)) == "already"
        await eventually_async(lambda: server.open_streams == 1, within_s=15)
        await ann.post("text")
        assert not newer.done()
        newer.cancel()


async def test_all_logins_are_renewed_in_one_batch_a_second() -> None:
    store = MemoryStore()
    async with Server(store).running() as server:
        clients = [RawClient(server.target, f"u{number}") for number in range(20)]
        links = []
        for client in clients:
            await client.login()
            links.append(await client.session())
        before = len(store.renewals)
        started_s = time.monotonic()
        await eventually_async(lambda: len(store.renewals) >= before + 3, within_s=15)
        assert time.monotonic() - started_s > 1.5
        assert all(len(renewal) == 20 for renewal in store.renewals[-2:])
        await asyncio.gather(*(client.channel.close() for client in clients))


async def test_renewals_that_fail_log_nobody_out_and_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    async with Server(store).running() as server, RawClient(server.target, "ann") as ann:
        link = await ann.session()
        store.failing["renew"] = Exhausted("cannot write the store: the disk is full")
        before = store.calls.count("renew")
        await eventually_async(lambda: store.calls.count("renew") >= before + 3, within_s=6)
        assert (await ann.list()).users == ["ann"]
        assert not link.done()
        del store.failing["renew"]
        await eventually_async(lambda: "can renew the logins again" in caplog.text, within_s=15)
        assert caplog.text.count("cannot renew the logins, trying on: cannot write the store") == 1
        link.cancel()


async def test_new_user_on_a_full_disk_hears_why_it_cannot_write() -> None:
    """What the stores say of a user that they do not know is held by their conformance suite."""
    store = MemoryStore()
    async with Server(store).running() as server:
        store.failing["login"] = Exhausted("cannot write the store: the disk is full")
        async with RawClient(server.target, "eve") as eve:
            store.failing["post"] = NoWriter("cannot post: there is no user 'eve'")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await eve.post("hello")
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "could not be recorded" in (refused.value.details() or "")
            store.failing["follow"] = NotFound("cannot follow 'ann': there is no user 'ann'")
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await eve.follow("ann")
            assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("method", ["login", "logout", "follow", "unfollow", "post", "renew"])
async def test_fenced_write_tells_the_master_once_and_sends_the_client_elsewhere(method: str) -> None:
    told: list[str] = []
    store = MemoryStore()
    async with (
        Server(store, lambda: told.append("fenced")).running() as server,
        RawClient(server.target, "ann") as ann,
    ):
        store.failing[method] = Fenced("cannot write: a newer incarnation has epoch 7")
        writes: dict[str, Callable[[], Awaitable[object]]] = {
            "login": ann.login,
            "logout": ann.logout,
            "follow": lambda: ann.follow("ann"),
            "unfollow": lambda: ann.unfollow("ann"),
            "post": lambda: ann.post("text"),
        }
        if method == "renew":
            await eventually_async(lambda: told, within_s=15)
        else:
            for _ in range(2):
                error = await error_of(writes[method]())
                assert (error.code(), code_of(error)) == (grpc.StatusCode.UNAVAILABLE, "unavailable")
                if method == "logout":
                    break
        assert told == ["fenced"]


async def test_fenced_post_of_a_stream_ends_it_for_the_client_must_repeat_it_elsewhere() -> None:
    told: list[str] = []
    store = MemoryStore()
    async with (
        Server(store, lambda: told.append("fenced")).running() as server,
        RawClient(server.target, "ann") as ann,
        ann.timeline() as seen,
    ):
        store.failing["post"] = Fenced("cannot write: a newer incarnation has epoch 7")
        await seen.submit("text", "r1")
        assert (await seen.ended()).code() is grpc.StatusCode.UNAVAILABLE
        assert seen.submitted == []
        assert told == ["fenced"]


async def test_drain_answers_what_is_in_flight_then_ends_streams_and_takes_no_more(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, RawClient(server.target, "ann") as ann:
        link = await ann.session()
        async with ann.timeline() as seen:
            calls = [asyncio.ensure_future(ann.post(f"post {number}")) for number in range(50)]
            for number in range(10):
                await seen.submit("submitted", f"s{number}")
            await seen.until(lambda: len(seen.submitted) >= 1)
            started_s = time.monotonic()
            await server.service.drain()
            assert time.monotonic() - started_s < 5
            ended = [await error_of(link), await seen.ended()]
        assert all(error.code() is grpc.StatusCode.UNAVAILABLE for error in ended)
        assert all("is leaving; ask a router" in (error.details() or "") for error in ended)
        assert all(not answer.error_code for answer in seen.submitted)
        assert len(set(await asyncio.gather(*calls))) == 50  # calls that were there are answered
        assert server.open_streams == 0
        for refused in (ann.login(), ann.stub.Session(pb.SessionRequest(caller=ann.caller)), await ann.open()):
            assert (await error_of(refused)).code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("way", ["call", "stream"])
async def test_drain_ends_streams_only_after_a_post_in_flight_was_answered(way: str) -> None:
    store = MemoryStore()
    gate = store.gates["post"] = asyncio.Event()
    async with (
        Server(store).running() as server,
        RawClient(server.target, "ann") as ann,
        ann.timeline() as seen,
    ):
        if way == "call":
            posting = asyncio.create_task(ann.post("text"))
        else:
            await seen.submit("text", "r1")
        await eventually_async(lambda: "post" in store.calls, within_s=15)
        draining = asyncio.create_task(server.service.drain())
        await eventually_async(lambda: server.service._leaving, within_s=15)
        await ann.list()  # comes over the same link, after what the drain may have sent
        assert seen.error is None
        gate.set()
        assert (await seen.ended()).code() is grpc.StatusCode.UNAVAILABLE
        if way == "call":
            assert await posting == 1
        else:
            assert [answer.post.post_id for answer in seen.submitted] == [1]
        await draining


async def test_drain_does_not_wait_for_ever_for_a_client_that_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snsnode.social.service.DRAIN_WITHIN_S", 0.3)
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "ann") as ann,
        RawClient(server.target, "bob") as bob,
    ):
        await ann.follow("bob")
        first = await bob.post("first")
        for _ in range(30):
            await asyncio.gather(*(bob.post("x" * 4000) for _ in range(50)))
        await ann.login()  # on a slow machine all those posts take longer than a silent login lasts
        stuck = await ann.open(after=first)
        await eventually_async(lambda: server.open_streams == 1, within_s=15)
        (feed,) = server.service._hub._feeds[UserName("ann")]

        async def sender_is_stuck() -> bool:
            taken = feed._cursor
            await asyncio.sleep(0.1)
            return feed._cursor == taken > first

        await eventually_async(sender_is_stuck, within_s=15)
        started_s = time.monotonic()
        await server.service.drain()
        assert 0.25 < time.monotonic() - started_s < 5
        stuck.cancel()


async def test_streams_of_a_service_that_stopped_running_end() -> None:
    server = Server(MemoryStore())
    async with server.running():
        ann = RawClient(server.target, "ann")
        await ann.login()
        link = await ann.session()
    assert (await error_of(link)).code() is grpc.StatusCode.UNAVAILABLE
    await ann.channel.close()


def _login(username: str, client_id: str) -> Login:
    return Login(UserName(username), ClientId(client_id))
