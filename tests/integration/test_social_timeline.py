"""Timelines over real gRPC and the real engine: history, live posts, resuming, slow readers, two servers."""

import asyncio
import random
import statistics
import time
from pathlib import Path

import grpc

from tests.bounds import bounded_in_time, nothing_left_behind
from tests.eventually import eventually_async
from tests.social_rig import RawClient, Seen, serving

__all__ = ["bounded_in_time", "nothing_left_behind"]


async def test_timeline_shows_the_last_20_posts_made_after_the_follow_newest_first(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "u1") as u1,
        RawClient(server.target, "u2") as u2,
        RawClient(server.target, "u3") as u3,
    ):
        await u2.follow("u1")
        for number in range(1, 23):
            await u1.post(f"post {number}")
            if number == 10:
                await u3.follow("u1")
        async with u2.timeline() as seen2, u3.timeline() as seen3, u1.timeline() as seen1:
            last20 = [f"post {number}" for number in range(22, 2, -1)]
            assert [post.text for post in seen2.history] == last20
            assert [post.text for post in seen3.history] == [f"post {number}" for number in range(22, 10, -1)]
            assert [post.text for post in seen1.history] == last20
            assert all(post.username == "u1" and post.posted_at_ms > 1.6e12 for post in seen2.history)


async def test_live_posts_arrive_in_order_at_once_and_not_at_their_author(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "ann") as ann,
        RawClient(server.target, "bob") as bob,
        RawClient(server.target, "eve") as eve,
    ):
        await ann.follow("bob")
        await bob.follow("ann")
        async with ann.timeline() as at_ann, bob.timeline() as at_bob, eve.timeline() as at_eve:
            for number in range(50):
                await bob.post(f"b{number}")
            await ann.post("a")
            await at_ann.until(lambda: len(at_ann.live) >= 50)
            await at_bob.until(lambda: len(at_bob.live) >= 1)
            assert at_ann.texts == [f"b{number}" for number in range(50)]
            assert at_bob.texts == ["a"]
            assert at_eve.texts == []


async def test_follow_and_unfollow_take_effect_for_live_posts_at_once(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "ann") as ann,
        RawClient(server.target, "bob") as bob,
        ann.timeline() as seen,
    ):
        for number in range(6):
            if number in (2, 5):
                await ann.follow("bob")
            if number == 4:
                await ann.unfollow("bob")
            await server.pushed(await bob.post(str(number)))
        await seen.until(lambda: len(seen.live) >= 3)
        assert seen.texts == ["2", "3", "5"]


async def test_resumed_timeline_gets_every_later_post_oldest_first_while_more_are_made(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "ann") as ann,
        RawClient(server.target, "bob") as bob,
    ):
        await ann.follow("bob")
        first = await bob.post("seen before")
        await asyncio.gather(*(bob.post(f"missed {number}") for number in range(500)))
        more = asyncio.create_task(_posts(bob, 200, "meanwhile"))
        async with ann.timeline(after=first) as seen:
            assert seen.history == []
            assert seen.cursor == first
            await more
            await seen.until(lambda: len(seen.live) >= 700)
            assert [post.post_id for post in seen.live] == list(range(first + 1, first + 701))


async def test_resuming_after_a_post_that_this_store_does_not_have_shows_what_is_new(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "ann") as ann,
        RawClient(server.target, "bob") as bob,
    ):
        await ann.follow("bob")
        last = await bob.post("old")
        async with ann.timeline(after=10**9) as seen:
            assert seen.cursor == last
            await bob.post("new")
            await seen.until(lambda: seen.texts == ["new"])


async def test_no_post_is_missed_or_doubled_while_timelines_are_entered_and_resumed_at_random(
    tmp_path: Path,
) -> None:
    dice = random.Random(20240501)
    readers, authors, each = 6, 3, 250
    async with serving(tmp_path) as server:
        writing = [RawClient(server.target, f"author{number}") for number in range(authors)]
        reading = [RawClient(server.target, f"reader{number}") for number in range(readers)]
        for client in (*writing, *reading):
            await client.login()
        for client in reading:
            for author in writing:
                await client.follow(author.caller.username)
        storm = asyncio.gather(*(_posts(author, each, "storm") for author in writing))
        shown = await asyncio.gather(
            *(_read_on_and_off(client, authors * each, random.Random(dice.random())) for client in reading)
        )
        await storm
        for ids in shown:
            # The first entry shows at most 20 of what was there; from then on nothing may be missing.
            assert ids == list(range(ids[0], authors * each + 1))
        for client in (*writing, *reading):
            await client.channel.close()


async def test_client_that_does_not_read_hurts_nobody_and_finally_gets_everything(tmp_path: Path) -> None:
    posts, text = 2000, "x" * 4000  # twice what gRPC takes off our hands
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "slow") as slow,
        RawClient(server.target, "fast") as fast,
        RawClient(server.target, "bob") as bob,
    ):
        await slow.follow("bob")
        await fast.follow("bob")
        stuck = Seen(await slow.open())
        await eventually_async(lambda: server.feeds == 1, within_s=15)
        (feed,) = server.service._hub._feeds["slow"]  # type: ignore[index]
        async with fast.timeline() as seen:
            for _ in range(posts // 50):
                await asyncio.gather(*(bob.post(text) for _ in range(50)))
            await seen.until(lambda: len(seen.live) >= posts)
            assert [post.post_id for post in seen.live] == list(range(1, posts + 1))
        assert feed.behind, "the slow reader was not slow enough to prove anything"
        assert not feed._queue
        reading = asyncio.create_task(stuck.read())
        await stuck.until(lambda: len(stuck.live) >= posts)
        assert [post.post_id for post in stuck.live] == list(range(1, posts + 1))
        stuck.call.cancel()
        await reading


async def test_reader_that_leaves_while_it_is_written_to_leaves_nothing_behind(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "slow") as slow,
        RawClient(server.target, "bob") as bob,
    ):
        await slow.follow("bob")
        cursor = await bob.post("first")
        for _ in range(10):
            await asyncio.gather(*(bob.post("x" * 4000) for _ in range(50)))
        call = await slow.open(after=cursor)
        await eventually_async(lambda: server.open_streams == 1, within_s=15)
        await bob.post("x")  # by now the server is blocked in the middle of the catch-up
        call.cancel()
        await eventually_async(lambda: server.open_streams == server.feeds == 0, within_s=15)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("timeline-of")]


async def test_posts_are_pushed_from_one_server_to_the_clients_of_another(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as here,
        serving(tmp_path) as there,
        RawClient(here.target, "ann") as ann,
        RawClient(there.target, "bob") as bob,
    ):
        await ann.follow("bob")
        async with ann.timeline() as seen:
            took_s = []
            for number in range(30):
                started_s = time.monotonic()
                await bob.post(str(number))
                await seen.until(lambda number=number: len(seen.live) > number)  # type: ignore[misc]
                took_s.append(time.monotonic() - started_s)
            assert statistics.median(took_s) < 0.5, "came by the tick, not by the hint"
            assert seen.texts == [str(number) for number in range(30)]


async def test_two_timelines_of_one_client_both_show_live_posts(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "ann") as ann,
        RawClient(server.target, "bob") as bob,
    ):
        await ann.follow("bob")
        async with ann.timeline() as one, ann.timeline() as two:
            await bob.post("hello")
            await one.until(lambda: one.texts == ["hello"])
            await two.until(lambda: two.texts == ["hello"])


async def test_submitted_posts_are_answered_in_order_and_refusals_do_not_end_the_stream(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "ann") as ann,
        RawClient(server.target, "bob") as bob,
    ):
        await ann.follow("bob")
        async with ann.timeline() as at_ann, bob.timeline() as at_bob:
            for text, request_id in (
                ("one", "r1"),
                ("  ", "r2"),
                ("one", "r1"),
                ("other", "r1"),
                ("a\x07b", "r3"),
                ("x" * 4097, "r4"),
                ("two", "no spaces"),
                ("two", "r5"),
            ):
                await at_bob.submit(text, request_id)
            await at_bob.until(lambda: len(at_bob.submitted) >= 8)
            codes = [answer.error_code for answer in at_bob.submitted]
            assert codes == ["", "invalid", "", "already", "invalid", "invalid", "invalid", ""]
            assert at_bob.submitted[0].post == at_bob.submitted[2].post
            assert at_bob.submitted[1].error_message.startswith("cannot post a blank text")
            await at_ann.until(lambda: at_ann.texts == ["one", "two"])
            assert at_bob.live == []


async def test_many_posts_submitted_without_reading_answers_are_all_answered(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, RawClient(server.target, "bob") as bob:
        call = await bob.open()
        seen = Seen(call)
        for number in range(300):
            await asyncio.wait_for(seen.submit("text", f"r{number}"), 5)
        reading = asyncio.create_task(seen.read())
        await seen.until(lambda: len(seen.submitted) >= 300)
        assert [answer.request_id for answer in seen.submitted] == [f"r{number}" for number in range(300)]
        call.cancel()
        await reading


async def test_client_that_stops_sending_still_gets_live_posts(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        RawClient(server.target, "ann") as ann,
        RawClient(server.target, "bob") as bob,
    ):
        await ann.follow("bob")
        async with ann.timeline() as seen:
            await seen.call.done_writing()
            await bob.post("hello")
            await seen.until(lambda: seen.texts == ["hello"])


async def _posts(client: RawClient, count: int, text: str) -> None:
    for number in range(count):
        await client.post(f"{text} {number}")


async def _read_on_and_off(client: RawClient, last: int, dice: random.Random) -> list[int]:
    """Enter once, then break and resume after what was read until post ``last``; return the ids as shown."""
    ids: list[int] = []
    after: int | None = None
    while not ids or ids[-1] < last:
        call = await client.open(after)
        seen = Seen(call)
        enough = dice.choice((0, 1, 5, 40, 200))
        async with asyncio.timeout(20):
            while seen.cursor is None or (len(seen.live) < enough and seen.newest < last):
                reply = await call.read()
                assert reply is not grpc.aio.EOF
                seen.take(reply)
        call.cancel()
        ids += sorted(post.post_id for post in seen.history)
        ids += [post.post_id for post in seen.live]
        after = ids[-1] if ids else None
        await asyncio.sleep(dice.random() * 0.02)
    return ids
