"""The writes of the PostgreSQL engine: what each is called with, and what its answer means. Pure.

Called by the engine's store and by its writer. The decisions themselves stand in the database's functions
(``sql/postgresql``), beside the rows. Messages are shown to users as they stand.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from snsnode.base.errors import AlreadyDone, InvalidInput, NotAllowed, NotFound, SnsError
from snsnode.base.ids import PostId, RequestId, UserName, shown
from snsnode.store.names import ambiguous, taken_in_another_case
from snsnode.store.protocol import Login, NoWriter, Posted


class PostRow(NamedTuple):
    """A post to store."""

    username: UserName
    request_id: RequestId
    text: str


class Request(NamedTuple):
    """A write that is no post: an element of sns_write_named's array, and how to read its answer."""

    row: dict[str, Any]
    read: Callable[[Any], object]


def checked(*texts: str) -> None:
    """Check that a database of UTF-8 can hold the texts, so that one that it cannot holds up no other.

    Raises:
        InvalidInput: it cannot.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"cannot store this: {error}") from None
        if "\0" in text:
            raise InvalidInput("cannot store this: it holds a zero byte")


def login(who: Login, lease_s: float) -> Request:
    """As ``Store.login``; the answer is a bool."""

    def read(answer: str) -> bool:
        if answer == "taken":
            raise AlreadyDone(
                f"cannot log in as {shown(who.username)}: the name is in use by another live client; wait a few "
                "seconds after it left, or choose another name"
            )
        if answer.startswith("like:"):
            raise taken_in_another_case(who.username, answer.removeprefix("like:"))
        return answer == "resumed"

    return Request({"kind": "login", **who._asdict(), "lease_ms": int(lease_s * 1000)}, read)


def renew(logins: Sequence[Login], lease_s: float) -> Request:
    """As ``Store.renew``; the answer is a frozenset of those that lost their name."""

    def read(lost: Sequence[int]) -> frozenset[Login]:
        return frozenset(logins[number] for number in lost)

    return Request(
        {"kind": "renew", "logins": [list(who) for who in logins], "lease_ms": int(lease_s * 1000)}, read
    )


def logout(who: Login) -> Request:
    """As ``Store.logout``."""
    return Request({"kind": "logout", **who._asdict()}, lambda answer: None)


def follow(username: UserName, followee: UserName, request_id: RequestId) -> Request:
    """As ``Store.follow``."""
    verb = f"cannot follow {shown(followee)}"
    row = {"kind": "follow", "username": username, "followee": followee, "request_id": request_id}
    return Request(row, lambda answer: _read(answer, verb, username, followee, request_id))


def unfollow(username: UserName, followee: UserName, request_id: RequestId) -> Request:
    """As ``Store.unfollow``."""
    verb = f"cannot unfollow {shown(followee)}"
    row = {"kind": "unfollow", "username": username, "followee": followee, "request_id": request_id}
    return Request(row, lambda answer: _read(answer, verb, username, followee, request_id))


def posted(row: PostRow, outcome: str, post_id: int, posted_at_ms: int) -> Posted:
    """Return the acknowledgement.

    Raises:
        NoWriter, AlreadyDone: as ``Store.post``.
    """
    if outcome != "posted":
        raise _refusal(outcome, "cannot post", row.username, row.username, row.request_id)
    return Posted(PostId(post_id), posted_at_ms)


def _read(answer: str, verb: str, username: UserName, followee: UserName, request_id: RequestId) -> None:
    if answer != "done":
        raise _refusal(answer, verb, username, followee, request_id)


def _refusal(answer: str, verb: str, username: UserName, followee: UserName, request_id: RequestId) -> SnsError:
    if answer == "no-user":
        return NoWriter(f"{verb}: there is no user {shown(username)}")
    if answer == "no-followee":
        return NotFound(f"{verb}: there is no user {shown(followee)}")
    if answer == "self":
        return NotAllowed(f"{verb}: that is yourself, and your own posts are on your timeline anyway")
    if answer == "ambiguous":
        return ambiguous(verb, followee)
    if answer == "already":
        return AlreadyDone(f"{verb}: you follow this user already")
    if answer == "not-followed":
        return NotAllowed(f"{verb}: you do not follow this user")
    return AlreadyDone(
        f"{verb}: the request id {shown(request_id)} was used for something else; make a new one for each"
    )
