"""gRPC health checking: served by every role, asked by ``snsctl`` and by probes.

Only roles and the command line import this: a program that uses the client library may have the package
grpcio-health-checking loaded, and one process cannot hold the protocol's descriptors twice.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from snsnode.base.errors import NotFound, SnsError
from snsnode.base.ids import shown
from snsnode.rpc import health_pb2, health_pb2_grpc
from snsnode.transport.channels import call, open_channel
from snsnode.transport.servers import Server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN_SERVICE = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health_pb2_grpc.HealthServicer):
    """The health of one process; ``services`` are the names that it answers for, besides ""."""

    def __init__(self, *services: str) -> None:
        self._services = {"", *services}
        self._serving = False
        self._changed = asyncio.Event()

    def set(self, serving: bool) -> None:
        """Say that the process serves, or that it does not; watchers are told at once."""
        self._serving = serving
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802
        """Answer the state now.

        Raises:
            NotFound: the service is not one of ours, as the protocol has it; ``Watch`` waits for such a one.
        """
        if request.service not in self._services:
            raise NotFound(f"cannot check {shown(request.service)}: this process has no such service")
        return self._answer(request.service)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:  # noqa: N802
        """Answer the state now and at every change."""
        while True:
            changed = self._changed
            yield self._answer(request.service)
            await changed.wait()

    def _answer(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._services:
            return health_pb2.HealthCheckResponse(status=UNKNOWN_SERVICE)
        return health_pb2.HealthCheckResponse(status=SERVING if self._serving else NOT_SERVING)


def register(health: Health, server: Server) -> None:
    """Add the health service to ``server``."""
    server.add(health_pb2_grpc.add_HealthServicer_to_server, health)


async def is_serving(target: str, timeout_s: float) -> bool:
    """Ask the process at ``target`` whether it serves; False where it says no or does not answer in time."""
    channel = open_channel(target)
    try:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        reply = await call(stub.Check, health_pb2.HealthCheckRequest(), timeout_s)
        return bool(reply.status == SERVING)
    except SnsError:
        return False
    finally:
        await channel.close()
