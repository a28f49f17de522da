"""What the service refuses, with one clear message each; and lists, page by page."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from snsnode.rpc import social_pb2 as pb
from snsnode.social import requests
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.social_rig import RawClient, Server, code_of, error_of, serving

__all__ = ["bounded_in_time", "nothing_left_behind"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path) as server:
        yield server


@pytest.fixture
async def ann(server: Server) -> AsyncIterator[RawClient]:
    async with RawClient(server.target, "ann") as client:
        yield client


@pytest.mark.parametrize(
    ("username", "client_id", "words"),
    [
        ("", "c1", "cannot take '' as a user name"),
        ("no spaces", "c1", "cannot take 'no spaces' as a user name: write 1 to 32 letters"),
        ("x" * 33, "c1", "as a user name"),
        ("ann\n", "c1", r"'ann\n' as a user name"),
        ("ann", "", "cannot take '' as a client id: write 1 to 64"),
        ("ann", "x" * 65, "as a client id"),
    ],
)
async def test_login_with_a_malformed_name_or_id_is_refused(
    server: Server, username: str, client_id: str, words: str
) -> None:
    client = RawClient(server.target, username)
    client.caller.client_id = client_id
    error = await error_of(client.login())
    assert (error.code(), code_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid")
    assert words in (error.details() or "")
    await client.channel.close()


@pytest.mark.parametrize(
    ("text", "request_id", "words"),
    [
        ("", "r1", "cannot post a blank text"),
        ("\n\t ", "r1", "cannot post a blank text"),
        ("é" * 2049, "r1", "cannot post a text of 4098 bytes: at most 4096"),
        ("a\x1b[2Jb", "r1", r"the control character '\x1b'"),
        ("text", "", "cannot take '' as a request id"),
        ("text", "r/1", "cannot take 'r/1' as a request id"),
    ],
)
async def test_malformed_post_is_refused(ann: RawClient, text: str, request_id: str, words: str) -> None:
    request = pb.PostRequest(caller=ann.caller, request_id=request_id, text=text)
    error = await error_of(ann.stub.Post(request))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid")
    assert words in (error.details() or "")


async def test_follow_and_unfollow_refuse_what_makes_no_sense(server: Server, ann: RawClient) -> None:
    async with RawClient(server.target, "bob"):
        await ann.follow("bob")
        for call, status, words in (
            (ann.follow("bob"), grpc.StatusCode.ALREADY_EXISTS, "bob"),
            (ann.follow("ann"), grpc.StatusCode.FAILED_PRECONDITION, "yourself"),
            (ann.follow("nobody"), grpc.StatusCode.NOT_FOUND, "nobody"),
            (ann.follow("no spaces"), grpc.StatusCode.INVALID_ARGUMENT, "'no spaces'"),
            (ann.unfollow("nobody"), grpc.StatusCode.NOT_FOUND, "nobody"),
            (ann.unfollow("ann"), grpc.StatusCode.FAILED_PRECONDITION, "ann"),
        ):
            error = await error_of(call)
            assert error.code() is status
            assert words in (error.details() or "")
        await ann.unfollow("bob")
        assert (await error_of(ann.unfollow("bob"))).code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_follow_needs_a_request_id_and_repeating_it_is_no_error(server: Server, ann: RawClient) -> None:
    async with RawClient(server.target, "bob"):
        request = pb.FollowRequest(caller=ann.caller, username="bob")
        assert (await error_of(ann.stub.Follow(request))).code() is grpc.StatusCode.INVALID_ARGUMENT
        request.request_id = "r1"
        for _ in range(2):
            await ann.stub.Follow(request)


async def test_calls_of_who_is_not_logged_in_here_are_refused(server: Server) -> None:
    bob = RawClient(server.target, "bob")
    for call in (
        bob.post("text"),
        bob.follow("ann"),
        bob.unfollow("ann"),
        bob.list(),
        bob.stub.Session(pb.SessionRequest(caller=bob.caller)),
        await bob.open(),
    ):
        error = await error_of(call)
        assert (error.code(), code_of(error)) == (grpc.StatusCode.UNAUTHENTICATED, "session-lost")
    await bob.channel.close()


@pytest.mark.parametrize(
    "first",
    [
        pb.TimelineRequest(),
        pb.TimelineRequest(submit=pb.TimelineRequest.Submit(request_id="r1", text="text")),
    ],
)
async def test_timeline_that_does_not_begin_with_enter_is_refused(ann: RawClient, first: Any) -> None:
    call = ann.stub.Timeline()
    await call.write(first)
    error = await error_of(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "the first message must be 'enter'" in (error.details() or "")


async def test_timeline_that_is_closed_before_its_first_message_is_refused(ann: RawClient) -> None:
    call = ann.stub.Timeline()
    await call.done_writing()
    assert (await error_of(call)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_timeline_that_never_begins_is_given_up(ann: RawClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "ENTER_WITHIN_S", 0.1)
    error = await error_of(ann.stub.Timeline())
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no 'enter' came" in (error.details() or "")


async def test_timeline_entered_twice_is_ended(ann: RawClient) -> None:
    call = await ann.open()
    await call.write(pb.TimelineRequest(enter=pb.TimelineRequest.Enter(caller=ann.caller)))
    error = await error_of(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot enter a timeline twice" in (error.details() or "")


async def test_timeline_with_a_post_id_that_cannot_be_is_refused(ann: RawClient) -> None:
    error = await error_of(await ann.open(after=2**63))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(2**63) in (error.details() or "")


async def test_list_gives_all_users_and_the_callers_followers_page_by_page(server: Server, ann: RawClient) -> None:
    others = [RawClient(server.target, f"u{number}") for number in range(5)]
    for client in others:
        await client.login()
        await client.follow("ann")
    whole = await ann.list()
    assert (list(whole.users), list(whole.followers)) == (
        ["ann", *(f"u{n}" for n in range(5))],
        [f"u{n}" for n in range(5)],
    )
    assert not whole.more_users
    assert not whole.more_followers
    page = await ann.list(page_size=2)
    assert (list(page.users), list(page.followers)) == (["ann", "u0"], ["u0", "u1"])
    assert page.more_users
    assert page.more_followers
    page = await ann.list(page_size=3, users_after="u1", followers_after="u3")
    assert (list(page.users), list(page.followers)) == (["u2", "u3", "u4"], ["u4"])
    assert not page.more_users
    for client in others:
        await client.channel.close()


async def test_list_refuses_pages_that_are_too_large_and_names_that_are_none(ann: RawClient) -> None:
    assert "cannot list 1001 names at once" in str((await error_of(ann.list(page_size=1001))).details())
    assert (await error_of(ann.list(users_after="no spaces"))).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await error_of(ann.list(followers_after="x" * 99))).code() is grpc.StatusCode.INVALID_ARGUMENT
