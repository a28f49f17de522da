"""KeepAlive, answered by threads of its own: a pool that clients fill must not silence a healthy master.

It is served on a socket in the VM's folder for the slave, and on the master's port for whoever else asks.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from snsnode.base.errors import InvalidInput
from snsnode.base.ids import Epoch, shown
from snsnode.node.config import NodeConfig
from snsnode.node.process import Identity, boot_id, me
from snsnode.node.progress import Progress
from snsnode.rpc import master_pb2_grpc, server_pb2


class KeepAliveService(master_pb2_grpc.MasterServicer):
    """Answers for one incarnation; ``on_beat`` is called in the event loop for each beat of our slave."""

    def __init__(
        self,
        config: NodeConfig,
        progress: Progress,
        epoch: Callable[[], Epoch],
        on_beat: Callable[[Identity], None],
    ) -> None:
        self._vm = config.vm
        self._me = me()
        self._progress = progress
        self._on_beat = on_beat
        self._loop = asyncio.get_running_loop()
        self._epoch = epoch

    def KeepAlive(self, request: server_pb2.KeepAliveRequest, context: Any) -> server_pb2.KeepAliveReply:  # noqa: N802
        """Say that we live, and note that the slave does. Runs in a thread of the KeepAlive server."""
        if request.vm == self._vm and request.pid and not self._loop.is_closed():
            slave = Identity(request.pid, request.start_ticks, boot_id())
            self._loop.call_soon_threadsafe(self._on_beat, slave)
        return self.answer()

    def answer(self) -> server_pb2.KeepAliveReply:
        """Return who we are and how far our loop has turned."""
        return server_pb2.KeepAliveReply(
            accepted=True,
            epoch=self._epoch(),
            pid=self._me.pid,
            start_ticks=self._me.start_ticks,
            progress=self._progress.count,
        )


class PublicKeepAlive(master_pb2_grpc.MasterServicer):
    """The same on the master's port, in the event loop. It takes no beats: anybody can reach it."""

    def __init__(
        self, config: NodeConfig, inner: KeepAliveService, registered: Callable[[], server_pb2.ServerInfo]
    ) -> None:
        self._vm = config.vm
        self._inner = inner
        self._registered = registered

    async def KeepAlive(  # noqa: N802
        self, request: server_pb2.KeepAliveRequest, context: Any
    ) -> server_pb2.KeepAliveReply:
        """Say that we live."""
        if request.vm and request.vm != self._vm:
            raise InvalidInput(f"cannot answer a KeepAlive for {shown(request.vm)}: this is {self._vm}")
        reply = self._inner.answer()
        reply.server.CopyFrom(self._registered())  # for a router that wants to hear it from us
        return reply
