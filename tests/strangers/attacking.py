"""Have the attacker of ``attacker`` at work, in a process of its own."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

READY_WITHIN_S = 30.0


def attack_of(kind: str, target: str, number: int, seconds: float, rate: float = 0.0) -> list[str]:
    """Return the command of one attack; ``rate`` is a second, 0: as fast as it goes."""
    attacker = [sys.executable, "-m", "tests.strangers.attacker", kind, target]
    return [*attacker, f"--number={number}", f"--seconds={seconds}", f"--rate={rate}"]


@asynccontextmanager
async def stranger(kind: str, target: str, number: int, seconds: float = 60.0) -> AsyncIterator[None]:
    """Have one that attacks, in full, for the block."""
    process = await asyncio.create_subprocess_exec(
        *attack_of(kind, target, number, seconds), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_WITHIN_S):
            assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            process.kill()
        await process.wait()


async def seen_by_stranger(kind: str, target: str, number: int) -> dict[str, int]:
    """Let one attack to its end, and return what it saw."""
    process = await asyncio.create_subprocess_exec(*attack_of(kind, target, number, 30), stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    seen: dict[str, int] = json.loads(said.splitlines()[-1])
    return seen
