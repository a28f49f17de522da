"""A process that serves the social network and nothing else, for tests of the client: no slave, no router.

Run as ``python -m tests.social_server STORE PORT``; prints a line when it serves, leaves at SIGTERM. SIGUSR1 makes
it tell its clients that it leaves, SIGUSR2 that it stays.
"""

import asyncio
import signal
import sys
from pathlib import Path

from snsnode.rpc import social_pb2_grpc
from snsnode.social.service import SocialService
from snsnode.store.engines import open_store
from snsnode.transport.servers import bind, make_server


async def main(path: Path, port: int) -> None:
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    store = await open_store(f"sqlite:///{path.name}", path.parent)
    service = SocialService(store, on_fenced=leaving.set)
    for number, on in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
        asyncio.get_running_loop().add_signal_handler(number, service.announce_leaving, on)
    server = make_server()
    server.add(social_pb2_grpc.add_SNSServiceServicer_to_server, service)
    bind(server, f"127.0.0.1:{port}")
    run = asyncio.create_task(service.run())
    await asyncio.sleep(0)
    await server.start()
    print("serving", flush=True)
    await leaving.wait()
    await service.drain()
    await server.stop(0.5)
    run.cancel()
    await asyncio.wait((run,))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
