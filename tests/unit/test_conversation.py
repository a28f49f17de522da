"""What a conversation tells of itself besides what it shows."""

from typing import Any

import pytest

from snsnode.base.errors import DeadlineExceeded, NotFound, SnsError, Unavailable
from snsnode.client.conversation import Conversation


class Failing:
    """A client whose calls all fail alike."""

    def __init__(self, error: SnsError) -> None:
        self._error = error

    async def follow(self, username: str) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (DeadlineExceeded("no answer in time"), True),
        (Unavailable("no server"), True),
        (NotFound("there is no user 'bob'"), True),
    ],
)
async def test_commands_that_were_not_done_are_remembered(error: SnsError, failed: bool) -> None:
    shown: list[str] = []
    client: Any = Failing(error)
    conversation = Conversation(client, shown.append)
    assert await conversation.take("FOLLOW bob")
    assert await conversation.take("HELP")
    assert (shown[0], conversation.failed) == (error.message, failed)


async def test_what_a_server_says_cannot_steer_the_terminal() -> None:
    shown: list[str] = []
    client: Any = Failing(NotFound("there is no \x1b]0;user\x07\x1b[2J 'bob'"))
    assert await Conversation(client, shown.append).take("FOLLOW bob")
    assert shown == [r"there is no \x1b]0;user\x07\x1b[2J 'bob'"]
