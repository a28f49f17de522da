"""The links between VMs that are none: ``Link`` is one TCP proxy, ``Lane`` what flows from one VM to another.

A link that is cut forwards nothing, neither bytes nor the end of a connection, and takes no new one: its queue is
full, so the kernel drops who knocks, as it would drop who knocks at a machine that is gone. Used by ``proxies``,
in one event loop.
"""

import asyncio
import socket
import time
from functools import partial

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
QUEUE = 64


class Lane:
    """What flows from one VM to another, over whatever connection."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_cut(self) -> bool:
        """Whether nothing comes through."""
        return not self._open.is_set()

    def set(self, *, cut: bool) -> None:
        """Cut it, or let everything through that waits."""
        if cut:
            self._open.clear()
        else:
            self._open.set()

    async def travel(self, sent_s: float) -> None:
        """Take as long as something on this lane takes that was sent at ``sent_s``, monotonic."""
        await asyncio.sleep(sent_s + self.delay_s - time.monotonic())
        await self._open.wait()


class Link:
    """The proxy of one directed link: connections that one VM opens to one listener of another.

    All but the constructor runs in the event loop.
    """

    def __init__(self, up: Lane, down: Lane, target_port: int) -> None:
        self._up, self._down = up, down
        self._target_port = target_port
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._takes = False
        self._queued: socket.socket | None = None  # fills the queue while the link is cut
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    def open(self) -> None:
        """Take connections."""
        self._listener.listen(QUEUE)
        # Not sock_accept: what it has taken when it is cancelled is lost.
        asyncio.get_running_loop().add_reader(self._listener, self._take)
        self._takes = True

    def follow(self) -> None:
        """Take connections, or let none come through, as the lanes are."""
        cut = self._up.is_cut or self._down.is_cut
        if cut and self._takes:
            self._shut()
            self._listener.listen(0)
            # Without waiting: should somebody be quicker, the queue is full with that one.
            self._drop_queued()
            self._queued = socket.socket()
            self._queued.setblocking(False)
            self._queued.connect_ex((LOOPBACK, self.port))
        elif not cut and not self._takes:
            self.open()

    def reset(self) -> None:
        """Break all connections."""
        for writers in self._connections.values():
            for writer in writers:
                writer.transport.abort()

    async def close(self) -> None:
        """End everything."""
        self._shut()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._listener.close()
        self._drop_queued()

    def _drop_queued(self) -> None:
        if self._queued is not None:
            self._queued.close()
            self._queued = None

    def _shut(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._takes = False

    def _take(self) -> None:
        """Take who knocks, unless it is whom we let fill the queue."""
        try:
            taken, peer = self._listener.accept()
        except BlockingIOError:
            return
        if self._queued is not None and peer == self._queued.getsockname():
            taken.close()
            self._drop_queued()
            return
        writers: list[asyncio.StreamWriter] = []
        task = asyncio.create_task(self._forward(taken, writers), name=f"connection-{self.port}")
        self._connections[task] = writers
        task.add_done_callback(partial(self._forget, taken))

    def _forget(self, taken: socket.socket, ended: "asyncio.Task[None]") -> None:
        if not self._connections.pop(ended):
            taken.close()  # cancelled before it had begun

    async def _forward(self, taken: socket.socket, writers: list[asyncio.StreamWriter]) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=taken)
            writers.append(writer)
            await self._up.travel(time.monotonic())
            try:
                far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
            except OSError:
                await self._down.travel(time.monotonic())
                return  # refused there, so broken here
            writers.append(far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer, self._up))
                group.create_task(_pump(far_reader, writer, self._down))
        finally:
            for each in writers:
                each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: Lane) -> None:
    """Forward bytes, and then how the connection ended, each only as the lane lets it."""
    travelling: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(QUEUE)
    async with asyncio.TaskGroup() as group:
        group.create_task(_send(reader, travelling))
        group.create_task(_arrive(travelling, writer, lane))


async def _send(reader: asyncio.StreamReader, travelling: "asyncio.Queue[tuple[float, bytes | None]]") -> None:
    """Note what is sent and when: b"" for an end, None for a break."""
    sent: bytes | None = b"-"
    while sent:
        try:
            sent = await reader.read(CHUNK_BYTES)
        except OSError:
            sent = None
        await travelling.put((time.monotonic(), sent))


async def _arrive(
    travelling: "asyncio.Queue[tuple[float, bytes | None]]", writer: asyncio.StreamWriter, lane: Lane
) -> None:
    try:
        while True:
            sent_s, sent = await travelling.get()
            await lane.travel(sent_s)
            if not sent:
                break
            writer.write(sent)
            await writer.drain()
        if sent is None:
            writer.transport.abort()
        else:
            writer.write_eof()
    except OSError:
        writer.transport.abort()  # whoever was to get it is gone
