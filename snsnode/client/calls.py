"""One call, repeated until it is answered, refused, or out of time."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from snsnode.base.errors import DeadlineExceeded, SnsError, Unavailable
from snsnode.client.attempts import SLOW_S, Attempts, judge
from snsnode.client.keeper import Keeper
from snsnode.client.link import Link
from snsnode.client.wording import brief

Reply = TypeVar("Reply")
Send = Callable[[Link, float], Awaitable[Reply]]


async def retrying(keeper: Keeper, what: str, deadline_s: float, send: Send[Reply]) -> Reply:
    """Call ``send`` until it succeeds; ``what`` names the call in messages, as in "cannot WHAT".

    ``send`` gets a link and its time in seconds; it must be safe to repeat.

    Raises:
        Refused, Exhausted: at once, as the server answered.
        DeadlineExceeded, Unavailable: nobody answered within ``deadline_s``.
    """
    call = _Call(keeper, what, deadline_s)
    while True:
        link = await call.link()
        try:
            return await call.attempt(link, send)
        except SnsError as error:
            await call.failed(link, error)


@dataclass(slots=True)
class _Call:
    keeper: Keeper
    what: str
    deadline_s: float
    attempts: Attempts = field(init=False)
    sent: bool = False

    def __post_init__(self) -> None:
        self.attempts = Attempts(until=time.monotonic() + self.deadline_s)

    async def link(self) -> Link:
        """Return a link to try, waiting for one as long as the call may last."""
        remaining_s = self.attempts.until - time.monotonic()
        try:
            async with asyncio.timeout(max(remaining_s, 0.0)):
                return await self.keeper.link()
        except TimeoutError:
            raise self.out_of_time(self.keeper.tried()) from None

    async def attempt(self, link: Link, send: Send[Reply]) -> Reply:
        """Run one attempt; while it lasts long, its server is put in doubt."""
        self.sent = True
        doubt = asyncio.get_running_loop().call_later(SLOW_S, self.keeper.slow, link)
        try:
            return await send(link, self.attempts.timeout_s(time.monotonic()))
        finally:
            doubt.cancel()

    async def failed(self, link: Link, error: SnsError) -> None:
        """Prepare the next attempt, or raise: ``error`` where it is final, else that the time is up."""
        verdict = judge(self.attempts, error, time.monotonic(), random.random())
        self.attempts = verdict.attempts
        if verdict.lost:
            self.keeper.lost(link, error)
        if verdict.final:
            raise error
        if verdict.pause_s is None:
            tried, server = self.keeper.tried(), link.server.target
            known = server in tried
            raise self.out_of_time(
                tried if known else f"{tried}; server {server}: {brief(error.message)}"
            ) from None
        await asyncio.sleep(verdict.pause_s)

    def out_of_time(self, tried: str) -> SnsError:
        message = f"cannot {self.what}: no server answered within {self.deadline_s:g} s ({tried})"
        # Where it was never sent, it certainly took no effect: that is another thing to know.
        return DeadlineExceeded(message) if self.sent else Unavailable(message)
