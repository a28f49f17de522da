"""Rows of the store as messages of the protocol. Called by the servicer and by its timelines; pure."""

from snsnode.base.errors import SnsError
from snsnode.base.ids import PostId
from snsnode.rpc import social_pb2
from snsnode.store.protocol import Post, Posted


def post_message(post: Post) -> social_pb2.Post:
    """Return a post as it is sent."""
    return social_pb2.Post(
        post_id=post.post_id, username=post.username, posted_at_ms=post.posted_at_ms, text=post.text
    )


def post_reply(posted: Posted) -> social_pb2.PostReply:
    """Return the acknowledgement of a post."""
    return social_pb2.PostReply(post_id=posted.post_id, posted_at_ms=posted.posted_at_ms)


def history(post: Post) -> social_pb2.TimelineReply:
    """Return a post of the timeline's history."""
    return social_pb2.TimelineReply(history=post_message(post))


def entered(cursor: PostId) -> social_pb2.TimelineReply:
    """Return the end of the history."""
    return social_pb2.TimelineReply(entered=social_pb2.TimelineReply.Entered(cursor=cursor))


def live(post: Post) -> social_pb2.TimelineReply:
    """Return a live post."""
    return social_pb2.TimelineReply(live=post_message(post))


def submitted(request_id: str, posted: Posted) -> social_pb2.TimelineReply:
    """Return the answer to a post that was taken."""
    return social_pb2.TimelineReply(
        submitted=social_pb2.TimelineReply.Submitted(request_id=request_id, post=post_reply(posted))
    )


def not_submitted(request_id: str, error: SnsError) -> social_pb2.TimelineReply:
    """Return the answer to a post that was refused."""
    return social_pb2.TimelineReply(
        submitted=social_pb2.TimelineReply.Submitted(
            request_id=request_id, error_code=error.code, error_message=error.message
        )
    )
