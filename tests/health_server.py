"""A process that serves health and nothing else, to be frozen or killed.

Run as ``python -m tests.health_server TARGET``; prints a line when it serves.
"""

import asyncio
import sys

from snsnode.transport.health import Health, register
from snsnode.transport.servers import bind, make_server


async def main(target: str) -> None:
    server, health = make_server(), Health()
    register(health, server)
    bind(server, target)
    await server.start()
    health.set(True)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
