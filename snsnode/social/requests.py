"""The checks of what clients send. Called by the servicer before it touches the store."""

import asyncio
from collections.abc import AsyncIterator

from snsnode.base.errors import DeadlineExceeded, InvalidInput
from snsnode.base.ids import PostId, parse_client_id, parse_username
from snsnode.rpc.social_pb2 import Caller, TimelineRequest
from snsnode.store.protocol import Login

PAGE_NAMES_MAX = 1000
ENTER_WITHIN_S = 10.0  # from the start of a Timeline call to its first message
POST_ID_MAX = 2**63 - 1  # the stores' integers are signed


def login(caller: Caller) -> Login:
    """Return who calls.

    Raises:
        InvalidInput: its name or its client id is malformed.
    """
    return Login(parse_username(caller.username), parse_client_id(caller.client_id))


def page_size(asked: int) -> int:
    """Return how many names a page shall have; 0 asks for the largest.

    Raises:
        InvalidInput: more than the largest.
    """
    if asked > PAGE_NAMES_MAX:
        raise InvalidInput(f"cannot list {asked} names at once: ask for pages of 1 to {PAGE_NAMES_MAX}")
    return asked or PAGE_NAMES_MAX


def after(name: str) -> str:
    """Return the name that a page of names begins after, "" for the first page.

    Raises:
        InvalidInput: it is no user name.
    """
    return parse_username(name) if name else ""


async def first(requests: AsyncIterator[TimelineRequest]) -> TimelineRequest.Enter:
    """Return a timeline's first message.

    Raises:
        InvalidInput: it is not ``enter``.
        DeadlineExceeded: it did not come within ``ENTER_WITHIN_S``.
    """
    try:
        async with asyncio.timeout(ENTER_WITHIN_S):
            request = await anext(requests, None)
    except TimeoutError:
        raise DeadlineExceeded(
            f"cannot open the timeline: no 'enter' came within {ENTER_WITHIN_S:.0f} s"
        ) from None
    if request is None or request.WhichOneof("kind") != "enter":
        raise InvalidInput("cannot open the timeline: the first message must be 'enter'")
    return request.enter


def cursor(enter: TimelineRequest.Enter) -> PostId | None:
    """Return the post to resume after, None to begin with the history.

    Raises:
        InvalidInput: no post can have that id.
    """
    if not enter.HasField("after_post_id"):
        return None
    if enter.after_post_id > POST_ID_MAX:
        raise InvalidInput(f"cannot resume after post {enter.after_post_id}: post ids end at {POST_ID_MAX}")
    return PostId(enter.after_post_id)
