"""``python bench/garbage.py [--clients N]``: how long one full garbage collection of a master holds everything up.

Serves in this process, over a store in memory, and lets another process log in so many clients, each with its
Session open. Meanwhile a thread beats as a slave's KeepAlive does: it needs the interpreter's lock, which a
collection holds. Then half of the clients leave, and what only a collection frees is counted.
"""

import argparse
import asyncio
import gc
import sys
import threading
import time
from contextlib import suppress

from snsnode.rpc import social_pb2_grpc
from snsnode.social.service import SocialService
from snsnode.transport.servers import bind, make_server
from tests.memory_store import MemoryStore
from tests.ports import free_port

BEAT_S = 0.005


class Beats:
    """A thread that wants to run each ``BEAT_S``; ``held_s`` is the longest that it was kept from it."""

    def __init__(self) -> None:
        self.held_s = 0.0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Beats":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _beat(self) -> None:
        before_s = time.monotonic()
        while not self._ends.wait(BEAT_S):
            now_s = time.monotonic()
            self.held_s = max(self.held_s, now_s - before_s - BEAT_S)
            before_s = now_s


async def measure(clients: int) -> None:
    """Print what one full collection costs."""
    service = SocialService(MemoryStore(), on_fenced=lambda: None)
    target = f"127.0.0.1:{free_port()}"
    server = make_server()
    server.add(social_pb2_grpc.add_SNSServiceServicer_to_server, service)
    bind(server, target)
    run = asyncio.create_task(service.run(), name="social")
    await server.start()
    command = [sys.executable, "-m", "tests.strangers", "names", target, f"--number={clients}", "--seconds=290"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        print(f"{service.clients} clients")
        _collect("young", 0)
        for _ in range(3):
            _collect("full", 2)
        gc.freeze()
        _collect("full, all set aside", 2)
        process.kill()
        await process.wait()
        await asyncio.sleep(6.0)
        gc.unfreeze()
        print(f"{service.clients} clients left")
        _collect("full, after they left", 2)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await server.stop(None)
        run.cancel()
        await asyncio.wait((run,))


def _collect(what: str, generation: int) -> None:
    objects = len(gc.get_objects())
    with Beats() as beats:
        time.sleep(0.05)
        began_s = time.monotonic()
        freed = gc.collect(generation)
        took_s = time.monotonic() - began_s
        time.sleep(0.02)
    each_ns = took_s / max(1, objects) * 1e9
    print(
        f"{what}: {took_s * 1000:.0f} ms for {objects} objects ({each_ns:.0f} ns each), freed {freed}, "
        f"a beat was held {beats.held_s * 1000:.0f} ms"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    asyncio.run(measure(parser.parse_args().clients))


if __name__ == "__main__":
    main()
