"""Tasks and who owns them: the first of several waits, and a set of tasks that outlive their starters.

Wherever it can be, the owner is an ``asyncio.TaskGroup``. ``Tasks`` serves where a group cannot: its tasks are
started by calls, each of which may be cancelled while others wait for the very same result, and the failure of one
is its waiters' business, not the end of the process.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")


async def first_of(*waits: Coroutine[Any, Any, object], within_s: float | None = None) -> None:
    """Return when the first of ``waits`` is done, after ``within_s`` at most; the others are cancelled.

    Raises:
        ExceptionGroup: what one of them raised.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait, name=getattr(wait, "__name__", "wait")) for wait in waits]
        await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


class Tasks:
    """The tasks of one owner, which must ``close`` it."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
        """Run ``work``; its waiters await it under ``asyncio.shield``."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel what still runs, and return when it has ended."""
        while self._running:
            running = list(self._running)
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("%s failed: %s", task.get_name(), error)  # its waiters are told, and act
