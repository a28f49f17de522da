"""A model of the store, not the store: a few dictionaries with the same rules.

Ids in commit order; one step holds the epoch check, the request id and the effect; a repeated request id gets its
first answer. The engines themselves are held to these rules by tests/conformance.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from snsnode.base.errors import Fenced
from snsnode.rpc import social_pb2
from snsnode.social.hub import PAGE_POSTS
from snsnode.store.protocol import TIMELINE_POSTS


@dataclass(frozen=True, slots=True)
class Author:
    """Which incarnation of which server writes."""

    vm: str
    epoch: int


class StoreModel:
    """Epochs, posts and request ids of one cluster; follows are given once and stay."""

    def __init__(self, followees: dict[str, tuple[str, ...]]) -> None:
        self.followees = followees
        self.posts: list[social_pb2.TimelineReply] = []  # the post with id n stands at n - 1
        self.by_author: dict[str, list[int]] = {name: [] for name in followees}
        self.epochs: dict[str, int] = {}
        self.wall_jump_s = 0.0
        self._requests: dict[tuple[str, str], int] = {}

    @property
    def last_post_id(self) -> int:
        """The highest id."""
        return len(self.posts)

    def claim_epoch(self, vm: str, at_least: int) -> int:
        """Make ``vm`` write as its next incarnation."""
        self.epochs[vm] = max(at_least, self.epochs.get(vm, 0) + 1)
        return self.epochs[vm]

    def check(self, writer: Author) -> None:
        """Refuse a replaced incarnation; every write calls it first.

        Raises:
            Fenced: there is a newer one.
        """
        if self.epochs.get(writer.vm, 0) != writer.epoch:
            raise Fenced(f"epoch {writer.epoch} of {writer.vm} was replaced")

    def find(self, username: str, request_id: str) -> int | None:
        """Return the post that an earlier request with this id made."""
        return self._requests.get((username, request_id))

    def post(self, username: str, request_id: str, text: str, now_s: float) -> int:
        """Store a post and return its id."""
        post_id = len(self.posts) + 1
        at_ms = round((now_s + self.wall_jump_s) * 1000)
        post = social_pb2.Post(post_id=post_id, username=username, posted_at_ms=at_ms, text=text)
        self.posts.append(social_pb2.TimelineReply(live=post))
        self.by_author[username].append(post_id)
        self._requests[username, request_id] = post_id
        return post_id

    def timeline_after(self, username: str, after: int) -> Sequence[int]:
        """Return a page of ids above ``after`` that ``username`` follows, oldest first."""
        found: list[int] = []
        for followee in self.followees[username]:
            ids = self.by_author[followee]
            if ids and ids[-1] > after:
                begin = bisect_right(ids, after)
                found += ids[begin : begin + PAGE_POSTS]
        found.sort()
        return found[:PAGE_POSTS]

    def history(self, username: str) -> Sequence[int]:
        """Return the ids of the newest posts of ``username`` and those it follows, newest first."""
        found: list[int] = []
        for name in (username, *self.followees[username]):
            found += self.by_author[name][-TIMELINE_POSTS:]
        found.sort(reverse=True)
        return found[:TIMELINE_POSTS]
