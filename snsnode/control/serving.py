"""Ask a role whether it serves, from code that has no event loop."""

from typing import Any

import grpc

from snsnode.rpc import health_pb2, health_pb2_grpc
from snsnode.transport.channels import CHANNEL_OPTIONS
from snsnode.transport.health import SERVING

PROBE_S = 1.0


def serves(target: str, timeout_s: float = PROBE_S) -> bool:
    """Tell whether the process at ``target`` answers its health check with SERVING."""
    # Not grpc.aio in an asyncio.run(): where it is asked again and again, its poller sometimes wakes a loop that
    # is closed already, and says so on stderr.
    with grpc.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=max(timeout_s, 0.001))
        except grpc.RpcError:
            return False
        return bool(reply.status == SERVING)
