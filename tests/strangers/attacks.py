"""The attacks. Each goes on for its time, whatever the server answers, and counts the answers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc

from snsnode.rpc import social_pb2
from tests.strangers import lies, raw
from tests.strangers.attack import AT_ONCE, Attack

CHANNELS = 4
HALF_CALLS_RATE = 4_000  # begun a second, at most
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


@asynccontextmanager
async def _channels(attack: Attack) -> AsyncIterator[list[grpc.aio.Channel]]:
    channels = [grpc.aio.insecure_channel(attack.target, options=_OPTIONS) for _ in range(CHANNELS)]
    try:
        yield channels
    finally:
        for channel in channels:
            await channel.close()


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

        await attack.in_parts(one)
        await attack.rest()


async def half_calls(attack: Attack) -> None:
    """Begin calls and never send their message, and begin others when the server has ended these."""
    async with _channels(attack) as channels:
        held: deque[Any] = deque(maxlen=attack.number)

        async def one(number: int) -> None:
            method = METHODS[number % len(METHODS)]
            rpc: Any = channels[number % CHANNELS].stream_stream(method)()
            held.append(rpc)
            attack.seen["begun"] += 1
            await asyncio.sleep(AT_ONCE / HALF_CALLS_RATE)

        while attack.lasts:
            await attack.in_parts(one)
            attack.ready()


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

        await attack.in_parts(one)
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

        await attack.send(one)


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

        await attack.send(one)


ATTACKS: dict[str, Callable[[Attack], Coroutine[Any, Any, None]]] = {
    "watches": watches,
    "half-calls": half_calls,
    "names": names,
    "passing-names": passing_names,
    "rubbish": rubbish,
    "registrations": lies.registrations,
    "machines": lies.machines,
    "crashes": lies.crashes,
    "exchanges": lies.exchanges,
    "connections": raw.connections,
    "silent": raw.silent,
    "slow-calls": raw.slow_calls,
    "continuations": raw.continuations,
}
