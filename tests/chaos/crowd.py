"""A crowd of clients with open timelines, in processes of their own, that all lose their server at once.

``Crowd`` starts the processes and collects what they saw; one of them is
``python -m tests.chaos.crowd ROUTERS FIRST COUNT EVERY``. A client is served again when its timeline shows the
post that the star, whom all follow, made after the fault; each ``EVERY``-th client also calls at the moment of the
fault. Times are of the monotonic clock, which all processes share.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from snsnode.base.errors import SnsError
from snsnode.client import Client, Connected, Event, asking, keeper

STAR = "star"
AFTER = "after the fault"
ROOT = Path(__file__).parents[2]


@dataclass
class Seen:
    """What the crowd saw; times in seconds since the fault."""

    lost: int = 0  # clients that had to log in again
    served_s: list[float] = field(default_factory=list)  # of all clients
    called_s: list[float] = field(default_factory=list)
    asked: int = 0  # Connects sent after the fault
    refused: int = 0  # of them, those without a server in the answer: asked again later
    problems: list[str] = field(default_factory=list)


class Crowd:
    """``clients`` clients in ``processes`` processes."""

    def __init__(self, routers: Sequence[str], clients: int, processes: int, call_every: int = 20) -> None:
        self._routers = list(routers)
        self._counts = [clients // processes + (index < clients % processes) for index in range(processes)]
        self._call_every = call_every
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        self.star = await Client(self._routers, STAR, deadline_s=60.0).__aenter__()
        first = 0
        for count in self._counts:
            self._processes.append(await self._start(first, count))
            first += count
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.star.__aexit__(None, None, None)
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    async def _start(self, first: int, count: int) -> asyncio.subprocess.Process:
        arguments = [",".join(self._routers), str(first), str(count), str(self._call_every)]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.crowd", *arguments),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=2**24,
        )

    async def entered(self, within_s: float) -> None:
        """Wait until every client has its timeline open."""
        async with asyncio.timeout(within_s):
            for process in self._processes:
                said = await self._line(process)
                assert said == "entered", said

    async def lose(self, fault: Callable[[], object], within_s: float) -> Seen:
        """Cause the fault and wait until everybody is served again."""
        fault_s = time.monotonic()
        fault()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{fault_s}\n".encode())
        await self.star.post(AFTER)
        seen = Seen()
        async with asyncio.timeout(within_s):
            for process in self._processes:
                part = json.loads(await self._line(process))
                for name, value in part.items():
                    setattr(seen, name, getattr(seen, name) + value)
        return seen

    async def left(self, within_s: float) -> None:
        """Let all log out, and wait for the processes to end."""
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(process.communicate(b"leave\n") for process in self._processes))

    async def _line(self, process: asyncio.subprocess.Process) -> str:
        assert process.stdout is not None
        return (await process.stdout.readline()).decode().strip()


# --- one of the processes -----------------------------------------------------------------------------------


class _Members:
    def __init__(self, routers: list[str], call_every: int) -> None:
        self._routers = routers
        self._call_every = call_every
        self._entered: set[int] = set()  # or failed
        self._connected_s: dict[int, float] = {}
        self.all_entered = asyncio.Event()
        self.fault = asyncio.Event()
        self.all_served = asyncio.Event()
        self.leave = asyncio.Event()
        self.fault_s = 0.0
        self.expected = 0
        self.seen = Seen()
        self._done = 0

    async def be(self, number: int) -> None:
        try:
            client = Client(self._routers, f"fan{number}", deadline_s=60.0, on_event=partial(self._note, number))
            async with client:
                await self._stay(client, number)
        except SnsError as error:
            self.seen.problems.append(f"fan{number}: {error.message}")
            self._note_entered(number)
            self._count()

    async def _stay(self, client: Client, number: int) -> None:
        await client.follow(STAR)
        timeline = client.timeline()
        await timeline.history()
        self._note_entered(number)
        calling = asyncio.create_task(self._call(client, number))
        try:
            async for post in timeline:
                if post.text == AFTER:
                    break
                self.seen.problems.append(f"fan{number} saw {post.text!r}")
            await self.fault.wait()
            self.seen.served_s.append(time.monotonic() - self.fault_s)
            await calling
        finally:
            calling.cancel()
        self._count()
        await self.leave.wait()

    async def _call(self, client: Client, number: int) -> None:
        if number % self._call_every:
            return
        await self.fault.wait()
        await client.post(f"from fan{number}")
        self.seen.called_s.append(time.monotonic() - self.fault_s)

    def _note(self, number: int, event: Event) -> None:
        if isinstance(event, Connected):
            self._connected_s[number] = time.monotonic()

    def _note_entered(self, number: int) -> None:
        self._entered.add(number)
        if len(self._entered) == self.expected:
            self.all_entered.set()

    def _count(self) -> None:
        self._done += 1
        if self._done == self.expected:
            self.seen.lost = sum(at_s > self.fault_s for at_s in self._connected_s.values())
            self.all_served.set()

    def counted(self, ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def asked(*arguments: Any) -> Any:
            counts = self.fault.is_set()
            self.seen.asked += counts
            try:
                return await ask(*arguments)
            except SnsError:
                self.seen.refused += counts
                raise

        return asked


async def _main(routers: list[str], first: int, count: int, call_every: int) -> None:
    members = _Members(routers, call_every)
    members.expected = count
    vars(keeper)["ask_router"] = members.counted(asking.ask_router)
    async with asyncio.TaskGroup() as group:
        for number in range(first, first + count):
            group.create_task(members.be(number))
        group.create_task(_follow_script(members))


async def _follow_script(members: _Members) -> None:
    await members.all_entered.wait()
    print("entered", flush=True)
    members.fault_s = float(await asyncio.to_thread(sys.stdin.readline))
    members.fault.set()
    await members.all_served.wait()
    print(json.dumps(vars(members.seen)), flush=True)
    # Whoever is served stays, so that nobody's logout stands in the way of those who are not.
    await asyncio.to_thread(sys.stdin.readline)
    members.leave.set()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
