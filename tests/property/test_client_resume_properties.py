"""A timeline read over many streams shows every post once, in commit order, whatever breaks and when.

The world: posts are written by several masters and get their ids when they commit, in another order than they were
made. A stream gives what a server gives: the history, or what is after the client's cursor, then live posts, some
of them twice. It breaks after any reply.
"""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from snsnode.client.resume import Progress, broken, take
from snsnode.rpc.social_pb2 import Post, TimelineReply

HISTORY_MAX = 20


def stream(committed: list[int], after: int | None, live_from: int, doubled: int) -> Iterator[TimelineReply]:
    """Yield what a server sends: ``committed`` are the ids so far, ``live_from`` those at the opening."""
    at_opening = committed[:live_from]
    cursor = max(at_opening, default=0)
    if after is None:
        for number in at_opening[::-1][:HISTORY_MAX]:
            yield TimelineReply(history=Post(post_id=number))
    else:
        cursor = min(after, cursor)
    yield TimelineReply(entered=TimelineReply.Entered(cursor=cursor))
    later = [number for number in committed if number > cursor]
    for index, number in enumerate(later):
        yield TimelineReply(live=Post(post_id=number))
        if index == doubled:  # the hub and the store may both bring it; a server drops it, a client must not rely
            yield TimelineReply(live=Post(post_id=number))


@settings(deadline=None)  # the machine may be busy
@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=60),
    before=st.integers(0, 40),
    streams=st.lists(
        st.tuples(st.integers(0, 10), st.integers(0, 80), st.integers(0, 5)), min_size=1, max_size=12
    ),
)
def test_every_post_is_shown_once_and_in_order(
    gaps: list[int], before: int, streams: list[tuple[int, int, int]]
) -> None:
    ids = [sum(gaps[: index + 1]) for index in range(len(gaps))]  # ascending with gaps: others' posts between
    progress, committed = Progress(), min(before, len(ids))
    history: list[int] = []
    live: list[int] = []
    first_cursor = 0
    for more, breaks_after, doubled in [*streams, (len(ids), 10_000, 0)]:
        opened_at = committed
        committed = min(committed + more, len(ids))
        for number, reply in enumerate(stream(ids[:committed], progress.after, opened_at, doubled)):
            if number >= breaks_after:
                break
            entering = progress.after is None
            progress, posts = take(progress, reply)
            (history if entering else live).extend(post.post_id for post in posts)
            if entering and progress.after is not None:
                first_cursor = reply.entered.cursor
        progress = broken(progress)
    assert history == [number for number in reversed(ids) if number <= first_cursor][:HISTORY_MAX]
    assert live == [number for number in ids if number > first_cursor], "missed, doubled, or out of order"
