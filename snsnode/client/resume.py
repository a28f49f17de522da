"""How far a timeline was read, and what of each reply is shown. Pure; called by ``timeline``.

Why nothing is shown twice and nothing is missed:

- On entry the server sends the history, newest first, and then ``entered`` with a cursor: the highest post id
  of the same snapshot. The history (at most 20 posts) is held until then. When the stream breaks before,
  nothing of it was shown, and the timeline is entered anew; there is no half-shown history to continue.
- From then on ids arrive ascending, in the order in which posts were committed, so one number, ``after``,
  says all. A later stream resumes after it; an id that is not above it was shown already.
- ``after`` is raised only by what was shown: the ``entered`` of a resumed stream comes before its catch-up.
  It is lowered where a resumed stream begins below it: that server keeps its posts in a store of its own
  (``separate_data``), whose ids say nothing about those we saw.
"""

from dataclasses import dataclass

from snsnode.rpc import social_pb2


@dataclass(frozen=True, slots=True)
class Progress:
    """``after`` is None until the history was read whole; ``held`` is what arrived of it."""

    after: int | None = None
    held: tuple[social_pb2.Post, ...] = ()


def broken(progress: Progress) -> Progress:
    """Return the progress with which the next stream starts."""
    return Progress(progress.after)


def take(progress: Progress, reply: social_pb2.TimelineReply) -> tuple[Progress, tuple[social_pb2.Post, ...]]:
    """Return the progress after ``reply`` and the posts to show now, in order."""
    kind = reply.WhichOneof("kind")
    if kind == "entered":
        if progress.after is not None:
            return Progress(min(progress.after, reply.entered.cursor)), ()
        after = max((reply.entered.cursor, *(post.post_id for post in progress.held)))
        return Progress(after), progress.held
    if kind not in ("history", "live"):
        return progress, ()
    post = reply.history if kind == "history" else reply.live
    if progress.after is None:
        return Progress(None, (*progress.held, post)), ()
    if post.post_id <= progress.after:
        return progress, ()
    return Progress(post.post_id), (post,)
