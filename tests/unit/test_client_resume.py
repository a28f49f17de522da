"""What of a timeline is shown, across broken streams: pure."""

from snsnode.client.resume import Progress, broken, take
from snsnode.rpc.social_pb2 import Post, TimelineReply


def history(number: int) -> TimelineReply:
    return TimelineReply(history=Post(post_id=number))


def live(number: int) -> TimelineReply:
    return TimelineReply(live=Post(post_id=number))


def entered(cursor: int) -> TimelineReply:
    return TimelineReply(entered=TimelineReply.Entered(cursor=cursor))


def read(progress: Progress, *replies: TimelineReply) -> tuple[Progress, list[int]]:
    shown: list[int] = []
    for reply in replies:
        progress, posts = take(progress, reply)
        shown += [post.post_id for post in posts]
    return progress, shown


def test_history_is_shown_when_it_is_whole_and_live_posts_at_once() -> None:
    progress, shown = read(Progress(), history(9), history(7))
    assert shown == []
    progress, shown = read(progress, entered(12))
    assert (progress.after, shown) == (12, [9, 7])
    assert read(progress, live(13), live(15)) == (Progress(15), [13, 15])


def test_history_that_broke_is_read_anew_and_shown_once() -> None:
    progress, shown = read(Progress(), history(9), history(7))
    progress = broken(progress)
    assert (progress.after, shown) == (None, [])
    assert read(progress, history(10), history(9), history(7), entered(10))[1] == [10, 9, 7]


def test_resumed_stream_shows_only_what_is_later() -> None:
    progress, _ = read(Progress(), entered(12), live(13), live(15))
    assert read(broken(progress), entered(15), live(15), live(16)) == (Progress(16), [16])


def test_post_that_is_both_in_the_history_and_live_is_shown_once() -> None:
    assert read(Progress(), history(12), entered(12), live(12), live(13))[1] == [12, 13]


def test_store_of_its_own_is_read_from_where_it_is() -> None:
    progress, _ = read(Progress(), entered(100), live(120))
    assert read(broken(progress), entered(3), live(4)) == (Progress(4), [4])


def test_other_replies_show_nothing() -> None:
    assert read(Progress(5), TimelineReply(submitted=TimelineReply.Submitted()), TimelineReply()) == (
        Progress(5),
        [],
    )
