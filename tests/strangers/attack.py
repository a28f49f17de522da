"""What all attacks share: whom, how many, how long, how fast, and what was seen."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

AT_ONCE = 200


class Attack:
    """One attack. ``rate``: of what it sends, how many a second; 0: as fast as it is answered."""

    def __init__(self, target: str, number: int, seconds: float, rate: float = 0.0) -> None:
        self.target = target
        self.number = number
        self.rate = rate
        self.until_s = time.monotonic() + seconds
        self.seen: Counter[str] = Counter()
        self._ready = False

    @property
    def place(self) -> tuple[str, int]:
        """Host and port of the target."""
        host, _, port = self.target.rpartition(":")
        return host, int(port)

    @property
    def lasts(self) -> bool:
        """Whether its time is not over."""
        return time.monotonic() < self.until_s

    def ready(self) -> None:
        """Tell whoever started us that the attack runs in full, once."""
        if not self._ready:
            self._ready = True
            print("ready", flush=True)

    async def rest(self) -> None:
        """Hold on to what is open until the time is over."""
        self.ready()
        await asyncio.sleep(max(0.0, self.until_s - time.monotonic()))

    async def send(self, one: Callable[[int], Awaitable[None]]) -> None:
        """Do ``one`` for each number, a few at a time; at a rate, in its time, and over and over."""
        self.ready()
        if not self.rate:
            await self.in_parts(one)
            return
        free = asyncio.Semaphore(AT_ONCE)

        async def timed(number: int) -> None:
            try:
                await one(number)
            finally:
                free.release()

        begun_s, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while self.lasts:
                await free.acquire()
                group.create_task(timed(number), name=f"attack-{number}")
                number += 1
                self.seen["sent"] += 1
                await asyncio.sleep(max(0.0, begun_s + number / self.rate - time.monotonic()))

    async def in_parts(self, one: Callable[[int], Awaitable[None]]) -> None:
        """Do ``one`` for each number, a few at a time, once."""
        for first in range(0, self.number, AT_ONCE):
            if not self.lasts:
                return
            await asyncio.gather(*(one(number) for number in range(first, min(first + AT_ONCE, self.number))))
