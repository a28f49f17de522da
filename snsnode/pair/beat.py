"""A partner's event loop shows that it turns."""

import asyncio

from snsnode.node.progress import Progress

PROGRESS_EVERY_S = 0.1


async def move(progress: Progress) -> None:
    """Move ``progress`` for ever."""
    while True:
        progress.move()
        await asyncio.sleep(PROGRESS_EVERY_S)
