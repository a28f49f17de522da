"""The attacks. Each goes on for its time, whatever the server answers, and counts the answers."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc

from snsnode.rpc import social_pb2

CHANNELS = 4
AT_ONCE = 200
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
METHODS = (
    "/sns.v1.SNSService/Login",
    "/sns.v1.SNSService/Post",
    "/sns.v1.SNSService/Session",
    "/sns.v1.SNSService/Timeline",
    "/sns.v1.Master/KeepAlive",
    "/sns.v1.Router/Connect",
    "/sns.v1.Router/RegisterServer",
    "/sns.v1.Router/Exchange",
    "/grpc.health.v1.Health/Check",
)
RUBBISH = b"\xff\xff\xff\xff"


class Attack:
    """One attack: whom, how many, how long, and what was seen."""

    def __init__(self, target: str, number: int, seconds: float) -> None:
        self.target = target
        self.number = number
        self.until_s = time.monotonic() + seconds
        self.seen: Counter[str] = Counter()
        self._ready = False

    @property
    def lasts(self) -> bool:
        """Whether its time is not over."""
        return time.monotonic() < self.until_s

    def ready(self) -> None:
        """Tell whoever started us that the attack runs in full, once."""
        if not self._ready:
            self._ready = True
            print("ready", flush=True)

    async def rest(self) -> None:
        """Hold on to what is open until the time is over."""
        self.ready()
        await asyncio.sleep(max(0.0, self.until_s - time.monotonic()))


@asynccontextmanager
async def _channels(attack: Attack) -> AsyncIterator[list[grpc.aio.Channel]]:
    channels = [grpc.aio.insecure_channel(attack.target, options=_OPTIONS) for _ in range(CHANNELS)]
    try:
        yield channels
    finally:
        for channel in channels:
            await channel.close()


async def _in_parts(attack: Attack, one: Callable[[int], Awaitable[None]]) -> None:
    """Do ``one`` for each number, a few at a time."""
    for first in range(0, attack.number, AT_ONCE):
        if not attack.lasts:
            return
        await asyncio.gather(*(one(number) for number in range(first, min(first + AT_ONCE, attack.number))))


async def _first_answer(attack: Attack, rpc: Any) -> None:
    with suppress(asyncio.CancelledError):
        try:
            await rpc.read()
            attack.seen["taken"] += 1
        except grpc.aio.AioRpcError as error:
            attack.seen[error.code().name] += 1


async def watches(attack: Attack) -> None:
    """Open health watches and hold them."""
    async with _channels(attack) as channels:
        held: list[Any] = []

        async def one(number: int) -> None:
            watch: Any = channels[number % CHANNELS].unary_stream("/grpc.health.v1.Health/Watch")
            rpc = watch(b"")
            held.append(rpc)
            await _first_answer(attack, rpc)

        await _in_parts(attack, one)
        await attack.rest()


async def half_calls(attack: Attack) -> None:
    """Begin calls and never send their message."""
    async with _channels(attack) as channels:
        held: list[Any] = []

        async def one(number: int) -> None:
            method = METHODS[number % len(METHODS)]
            rpc: Any = channels[number % CHANNELS].stream_stream(method)()
            held.append(rpc)
            with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                await asyncio.wait_for(rpc.wait_for_connection(), 1.0)

        await _in_parts(attack, one)
        await attack.rest()


async def names(attack: Attack) -> None:
    """Log in with many names, and hold a Session for each."""
    async with _channels(attack) as channels:
        held: list[Any] = []

        async def one(number: int) -> None:
            channel = channels[number % CHANNELS]
            caller = social_pb2.Caller(username=f"stranger{number}", client_id=f"stranger{number}")
            login: Any = channel.unary_unary("/sns.v1.SNSService/Login")
            try:
                await login(social_pb2.LoginRequest(caller=caller).SerializeToString(), timeout=10.0)
            except grpc.aio.AioRpcError as error:
                attack.seen[error.code().name] += 1
                return
            attack.seen["logged in"] += 1
            session: Any = channel.unary_stream("/sns.v1.SNSService/Session")
            rpc = session(social_pb2.SessionRequest(caller=caller).SerializeToString())
            held.append(rpc)
            await _first_answer(attack, rpc)

        await _in_parts(attack, one)
        await attack.rest()


async def passing_names(attack: Attack) -> None:
    """Log in with ever new names, and never come back."""
    async with _channels(attack) as channels:

        async def one(number: int) -> None:
            caller = social_pb2.Caller(username=f"passer{number}", client_id=f"passer{number}")
            login: Any = channels[number % CHANNELS].unary_unary("/sns.v1.SNSService/Login")
            try:
                await login(social_pb2.LoginRequest(caller=caller).SerializeToString(), timeout=10.0)
                attack.seen["logged in"] += 1
            except grpc.aio.AioRpcError as error:
                attack.seen[error.code().name] += 1

        attack.ready()
        await _in_parts(attack, one)


async def rubbish(attack: Attack) -> None:
    """Send messages that do not parse, to every method in turn, as fast as they are answered."""
    async with _channels(attack) as channels:

        async def one(number: int) -> None:
            call: Any = channels[number % CHANNELS].unary_unary(METHODS[number % len(METHODS)])
            try:
                await call(RUBBISH, timeout=5.0)
                attack.seen["taken"] += 1
            except grpc.aio.AioRpcError as error:
                attack.seen[error.code().name] += 1

        attack.ready()
        await _in_parts(attack, one)


async def connections(attack: Attack) -> None:
    """Open connections, ``number`` of them a second, and hold them until there is no room for more."""
    host, _, port = attack.target.rpartition(":")
    held: list[socket.socket] = []
    each_s = 1.0 / attack.number
    at_s = time.monotonic()
    while attack.lasts:
        connection = socket.socket()
        connection.setblocking(False)
        try:
            connection.connect_ex((host, int(port)))
            held.append(connection)
            attack.seen["opened"] += 1
        except OSError:
            attack.seen["failed"] += 1
        if len(held) > HELD_MAX:
            held.pop(0).close()
        at_s += each_s
        if at_s > time.monotonic():
            attack.ready()
            await asyncio.sleep(at_s - time.monotonic())
    for connection in held:
        connection.close()


HELD_MAX = 4_000  # of the 20,000 descriptors that a process may have here

ATTACKS: dict[str, Callable[[Attack], Coroutine[Any, Any, None]]] = {
    "watches": watches,
    "half-calls": half_calls,
    "names": names,
    "passing-names": passing_names,
    "rubbish": rubbish,
    "connections": connections,
}
