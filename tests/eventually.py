"""Wait for something to become true, instead of sleeping and hoping."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

POLL_S = 0.01

_T = TypeVar("_T")


def eventually(predicate: Callable[[], _T], within_s: float, every_s: float = POLL_S) -> _T:
    """Return the first true result of ``predicate``; it may raise ``AssertionError`` until then.

    Raises:
        AssertionError: it was false for ``within_s``; chained to what it raised last.
    """
    give_up_at_s = time.monotonic() + within_s
    while True:
        result, error = _tried(predicate)
        if result:
            return result
        if time.monotonic() >= give_up_at_s:
            raise AssertionError(f"not so within {within_s} s: {result!r}") from error
        time.sleep(every_s)


async def eventually_async(predicate: Callable[[], Any], within_s: float, every_s: float = POLL_S) -> Any:
    """As ``eventually``, for a test inside an event loop; ``predicate`` may be a coroutine function."""
    give_up_at_s = time.monotonic() + within_s
    while True:
        error: AssertionError | None = None
        try:
            outcome = predicate()
            result = await outcome if isinstance(outcome, Awaitable) else outcome
        except AssertionError as failed:
            result, error = None, failed
        if result:
            return result
        if time.monotonic() >= give_up_at_s:
            raise AssertionError(f"not so within {within_s} s: {result!r}") from error
        await asyncio.sleep(every_s)


def _tried(predicate: Callable[[], _T]) -> tuple[_T | None, AssertionError | None]:
    try:
        return predicate(), None
    except AssertionError as error:
        return None, error
