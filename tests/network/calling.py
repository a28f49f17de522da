"""The program of ``Callers``: clients that post without end, and one that reads them all.

``python -m tests.network.calling JSON``, with ``routers``, ``posters``, ``every_s`` and ``reader``. It writes a
line of JSON for everything that happens, and ends in good order once its input ends: when the reader has seen all.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from snsnode.base.errors import SnsError
from snsnode.client import Client
from snsnode.client.events import Connected, Event
from tests.eventually import eventually_async

READ_WITHIN_S = 30.0


class Calling:
    """The clients of one VM; names and texts are this process's own."""

    def __init__(self, routers: Sequence[str], posters: int, every_s: float) -> None:
        self._routers = routers
        self._every_s = every_s
        self._names = [f"p{os.getpid()}x{number}" for number in range(posters)]
        self._at: dict[str, str] = {}  # where each client is
        self._ending = asyncio.Event()
        self._acknowledged: set[str] = set()
        self._seen: set[str] = set()

    async def run(self, *, reader: bool) -> None:
        """Call until the input ends."""
        for name in self._names:
            async with Client(self._routers, username=name):
                pass  # from now on it can be followed
        async with asyncio.TaskGroup() as group:
            if reader:
                entered = asyncio.Event()
                reading = group.create_task(self._read(entered), name="reader")
                await entered.wait()
            posting = [group.create_task(self._post(name), name=name) for name in self._names]
            await asyncio.to_thread(sys.stdin.read)
            self._ending.set()
            await asyncio.wait(posting)
            if reader:
                with contextlib.suppress(AssertionError):  # what is missing is found by the check
                    await eventually_async(lambda: self._has_seen_all() or reading.done(), READ_WITHIN_S)
                reading.cancel()

    async def _post(self, name: str) -> None:
        async with self._client(name) as client:
            number = 0
            while not self._ending.is_set():
                text, number = f"{os.getpid()}-{name}-{number}", number + 1
                began_s, error = time.monotonic(), ""
                try:
                    await client.post(text)
                    self._acknowledged.add(text)
                except SnsError as failed:
                    error = f"{type(failed).__name__}: {failed.message}"
                ended_s = time.monotonic()
                tell("call", text=text, began_s=began_s, ended_s=ended_s, error=error, server=self._at[name])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._every_s):
                        await self._ending.wait()

    async def _read(self, entered: asyncio.Event) -> None:
        async with self._client(f"r{os.getpid()}") as client:
            for name in self._names:
                await client.follow(name)
            timeline = client.timeline()
            await timeline.history()
            entered.set()
            try:
                async for post in timeline:
                    self._seen.add(post.text)
                    tell("seen", text=post.text)
            except SnsError as error:
                tell("problem", text=f"read the timeline: {type(error).__name__}: {error.message}")

    def _has_seen_all(self) -> bool:
        return self._acknowledged <= self._seen

    def _client(self, name: str) -> Client:
        def on_event(event: Event) -> None:
            server = f"{event.host}:{event.port}"
            arrived = isinstance(event, Connected)
            if arrived:
                self._at[name] = server
            tell("move" if arrived else "turn", who=name, at_s=time.monotonic(), server=server)

        return Client(self._routers, username=name, on_event=on_event)


def tell(what: str, **facts: Any) -> None:
    """Write one line about what happened."""
    print(json.dumps({"what": what, **facts}), flush=True)


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    calling = Calling(order["routers"], order["posters"], order["every_s"])
    asyncio.run(calling.run(reader=order["reader"]))
