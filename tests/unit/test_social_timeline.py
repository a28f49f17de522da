"""One timeline without gRPC: its hand-over to live posts, its end, and its bounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from snsnode.base.errors import SnsError, StoreFailed, Unavailable
from snsnode.base.ids import PostId, UserName
from snsnode.rpc.social_pb2 import TimelineReply, TimelineRequest
from snsnode.social.hub import Hub
from snsnode.social.timeline import ANSWERS_MAX, Timeline
from snsnode.store.protocol import History, Posted
from tests.memory_store import MemoryStore

ANN, BOB = UserName("ann"), UserName("bob")


async def posted(message: TimelineRequest.Submit) -> Posted:
    return Posted(PostId(1), 1)


async def submits(count: int) -> AsyncIterator[TimelineRequest]:
    for number in range(count):
        yield TimelineRequest(submit=TimelineRequest.Submit(request_id=f"r{number}", text="text"))


async def next_of(replies: AsyncIterator[TimelineReply]) -> TimelineReply:
    async with asyncio.timeout(5):
        return await anext(replies)


async def test_post_pushed_while_the_history_is_read_is_shown_live() -> None:
    store = MemoryStore()
    store.follows[ANN, BOB] = 0
    hub = Hub(store)
    push = asyncio.create_task(hub.run())
    real = store.history

    async def slow(username: UserName, limit: int = 20) -> History:
        snapshot = await real(username, limit)
        last = store.write("bob").post_id
        async with asyncio.timeout(5):
            while (hub._cursor or 0) < last:  # noqa: ASYNC110 - the hub is to have its turns
                await asyncio.sleep(0)
        return snapshot

    store.history = slow  # type: ignore[method-assign]
    async with aclosing(Timeline(store, hub, ANN, posted).replies(None)) as replies:
        assert (await next_of(replies)).HasField("entered")
        assert (await next_of(replies)).live.post_id == 1
    push.cancel()
    await asyncio.wait((push,))


async def test_ended_stream_answers_the_post_in_flight_and_takes_no_other() -> None:
    gate, asked = asyncio.Event(), []

    async def slow(message: TimelineRequest.Submit) -> Posted:
        asked.append(message.request_id)
        await gate.wait()
        return Posted(PostId(7), 1)

    store = MemoryStore()
    timeline = Timeline(store, Hub(store), ANN, slow)
    async with aclosing(timeline.replies(None)) as replies:
        await next_of(replies)
        reading = asyncio.create_task(timeline.read(submits(3)))
        answer = asyncio.create_task(next_of(replies))
        while not asked:  # noqa: ASYNC110 - the reader is to have its turns
            await asyncio.sleep(0)
        timeline.end(Unavailable("leaving"))
        timeline.end(StoreFailed("too late: the first end counts"))
        gate.set()
        assert (await answer).submitted.post.post_id == 7
        with pytest.raises(Unavailable, match="leaving"):
            await next_of(replies)
        await reading
        assert asked == ["r0"]


@pytest.mark.parametrize("error", [Unavailable("elsewhere"), RuntimeError("a bug")])
async def test_post_whose_fate_is_open_ends_the_stream_instead_of_answering(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(message: TimelineRequest.Submit) -> Posted:
        raise error

    store = MemoryStore()
    timeline = Timeline(store, Hub(store), ANN, fails)
    await timeline.read(submits(1))
    async with aclosing(timeline.replies(None)) as replies:
        await next_of(replies)
        with pytest.raises(SnsError) as raised:
            await next_of(replies)
    assert isinstance(raised.value, Unavailable if isinstance(error, Unavailable) else StoreFailed)
    assert ("a bug" in caplog.text) is isinstance(error, RuntimeError)


async def test_client_that_reads_no_answers_is_no_longer_read() -> None:
    asked = []

    async def counted(message: TimelineRequest.Submit) -> Posted:
        asked.append(message.request_id)
        return Posted(PostId(1), 1)

    store = MemoryStore()
    timeline = Timeline(store, Hub(store), ANN, counted)
    reading = asyncio.create_task(timeline.read(submits(100)))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(asked) == ANSWERS_MAX
    async with aclosing(timeline.replies(None)) as replies:
        await next_of(replies)
        for number in range(100):
            assert (await next_of(replies)).submitted.request_id == f"r{number}"
    await reading
