"""Mutated messages to the methods of real roles, while a bystander uses the network."""

import asyncio
import contextlib
import random
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import Message

from snsnode.rpc import health_pb2, master_pb2, router_pb2, server_pb2, social_pb2
from tests.cluster import Cluster
from tests.fuzz.mutate import TOKENS, VALUES, mutated
from tests.fuzz.report import Report

CALL_S = 5.0  # what a call may take while others of ours are under way
IN_FLIGHT = 6
QUIET_S = 3.0
# What a server may answer to a message that it does not like; INTERNAL and UNKNOWN would be its own fault.
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)

_CALLER = social_pb2.Caller(username="fuzzer", client_id="c0ffee")
_INFO = server_pb2.ServerInfo(vm="vm9", hostname="127.0.0.1", port=12345, epoch=3, clients=1, claim=2, logins=3)
_TABLE = router_pb2.TableReply(vm="vm8", available_vm="vm9", servers=[_INFO], uptime_ms=5)
_KEEPALIVE = server_pb2.KeepAliveRequest(vm="vm2", epoch=1, pid=5, start_ticks=7, sequence=9)

ROUTER: dict[str, Message] = {
    "/sns.v1.Router/RegisterServer": _INFO,
    "/sns.v1.Router/Connect": router_pb2.ClientConnect(username="fuzzer", client_id="c0ffee"),
    "/sns.v1.Router/Crash": _INFO,
    "/sns.v1.Router/Exchange": _TABLE,
    "/sns.v1.Router/Table": router_pb2.TableRequest(),
}
MASTER: dict[str, Message] = {
    "/sns.v1.Master/KeepAlive": _KEEPALIVE,
    "/sns.v1.SNSService/Login": social_pb2.LoginRequest(caller=_CALLER),
    "/sns.v1.SNSService/Session": social_pb2.SessionRequest(caller=_CALLER),
    "/sns.v1.SNSService/Logout": social_pb2.LogoutRequest(caller=_CALLER),
    "/sns.v1.SNSService/List": social_pb2.ListRequest(caller=_CALLER, page_size=5),
    "/sns.v1.SNSService/Follow": social_pb2.FollowRequest(caller=_CALLER, username="bystander", request_id="r1"),
    "/sns.v1.SNSService/UnFollow": social_pb2.FollowRequest(caller=_CALLER, username="bystander", request_id="r2"),
    "/sns.v1.SNSService/Post": social_pb2.PostRequest(caller=_CALLER, request_id="r3", text="hello"),
    "/sns.v1.SNSService/Timeline": social_pb2.TimelineRequest(),
}
HEALTH: dict[str, Message] = {
    "/grpc.health.v1.Health/Check": health_pb2.HealthCheckRequest(service="sns.v1.Router"),
    "/grpc.health.v1.Health/Watch": health_pb2.HealthCheckRequest(service=""),
}
ORDERS: dict[str, Message] = {
    "/sns.v1.Master/KeepAlive": _KEEPALIVE,
    "/sns.v1.Orders/Drain": master_pb2.DrainRequest(),
    "/sns.v1.Orders/TakeOver": master_pb2.TakeOverRequest(),
}
_STREAMS = ("Session", "Watch", "Timeline")


class Bystander:
    """A client in a process of its own, which posts and lists; its latencies by time."""

    def __init__(self, router: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BYSTANDER, router],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    @property
    def ended_well(self) -> bool:
        """Whether no call of it failed; ask after ``end``."""
        return self._process.returncode == 0

    def kill(self) -> None:
        """End it however it is; safe after ``end``."""
        self._process.kill()
        self._process.wait()

    def end(self) -> list[tuple[float, float]]:
        """Return (when, milliseconds) of each of its calls."""
        said, _ = self._process.communicate("end\n", timeout=60)
        return [(float(at_s), float(took_ms)) for at_s, took_ms in (line.split() for line in said.splitlines())]


_BYSTANDER = """
import sys, threading, time
from snsnode.client import SyncClient
ending = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), ending.set()), daemon=True).start()
with SyncClient([sys.argv[1]], username="bystander") as client:
    print("ready", flush=True)
    number = 0
    while not ending.wait(0.02):
        begun_s = time.monotonic()
        client.post(f"post {number}") if number % 2 else client.list()
        print(begun_s, (time.monotonic() - begun_s) * 1000)
        number += 1
"""


def run(report: Report, seeds: list[int], within_s: float, cluster: Cluster) -> None:
    """Send a mutated message for each seed, for ``within_s`` at most, with a bystander beside."""
    before = {role: cluster.pid("vm2", role) for role in ("slave", "master")} | {
        "router": cluster.pid("vm1", "router")
    }
    bystander = Bystander(cluster.router_targets[0])
    time.sleep(QUIET_S)  # nothing is awaited: this is the quiet that the bystander measures
    begun_s = time.monotonic()
    try:
        asyncio.run(_send_all(report, seeds, begun_s + within_s, cluster))
        ended_s = time.monotonic()
        latencies = bystander.end()
    finally:
        bystander.kill()
    quiet = [took_ms for at_s, took_ms in latencies if at_s < begun_s]
    during = [took_ms for at_s, took_ms in latencies if begun_s <= at_s < ended_s]
    report.notes.append(
        f"a bystander: p99 {_p99(quiet):.0f} ms in quiet ({len(quiet)} calls), {_p99(during):.0f} ms beside "
        f"({len(during)} calls, the longest {max(during, default=0):.0f} ms)"
    )
    _look_at(report, cluster, before)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0


def _look_at(report: Report, cluster: Cluster, before: dict[str, int]) -> None:
    """Note a process that died, and a traceback in a log."""
    for role, pid in before.items():
        found = cluster.process("vm1" if role == "router" else "vm2", role)
        if found is None or found.pid != pid:
            report.found(0, f"the {role} did not survive: {cluster.tails(20)}")
    for log in sorted(cluster.home.glob("*/log/*.log")):
        said = log.read_text(errors="replace")
        report.notes.append(f"{log.relative_to(cluster.home)}: {len(said.splitlines())} lines")
        if "Traceback" in said:
            at = said.index("Traceback")
            report.found(0, f"a traceback in {log.name}: {said[max(0, at - 300) : at + 1500]}")


async def _send_all(report: Report, seeds: list[int], until_s: float, cluster: Cluster) -> None:
    targets = [
        (f"127.0.0.1:{cluster.ports['vm1']}", ROUTER | HEALTH),
        (f"127.0.0.1:{cluster.ports['vm2']}", MASTER | HEALTH),
        (f"unix:{cluster.vm_dir('vm2').run / 'master.sock'}", ORDERS),
    ]
    channels = [(grpc.aio.insecure_channel(target), methods) for target, methods in targets]
    left = iter(seeds)

    async def sender() -> None:
        for seed in left:
            if time.monotonic() >= until_s:
                return
            await _send(report, seed, channels)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(IN_FLIGHT):
                group.create_task(sender(), name=f"sender-{number}")
    finally:
        for channel, _ in channels:
            await channel.close()


async def _send(report: Report, seed: int, channels: list[tuple[Any, dict[str, Message]]]) -> None:
    chance = random.Random(seed)
    channel, methods = chance.choice(channels)
    method = chance.choice(list(methods))
    name = method.rpartition("/")[2]
    payload = _payload(chance, methods[method])
    if name in ("Drain", "TakeOver"):
        payload = b"\xff" + payload  # never one that parses: a drained server would serve nobody
    begun_s = time.monotonic()
    try:
        outcome = await asyncio.wait_for(_call(channel, method, name, payload, chance), CALL_S + 1)
    except grpc.aio.AioRpcError as error:
        outcome = error.code().name
        if error.details() == "Internal error from Core":
            outcome = "broken off"  # the client's own words: it wrote to a stream that the server had ended
        elif error.code() in FAULTS or re.search(r"Traceback|Exception", error.details() or ""):
            report.found(seed, f"{method} answered {outcome}: {error.details()}")
    except TimeoutError:
        outcome = "no answer"
        report.found(seed, f"{method} gave no answer")
    waited = name == "Connect" and outcome in ("UNAVAILABLE", "OK", "DEADLINE_EXCEEDED")  # as its wait_ms asks
    report.took(seed, 0.0 if waited else time.monotonic() - begun_s, outcome)


def _payload(chance: random.Random, valid: Message) -> bytes:
    """Return a message with other values in some fields, or bytes that may be none."""
    message = type(valid)()
    message.CopyFrom(valid)
    if chance.random() < 0.7:
        for _ in range(chance.randint(1, 4)):
            _set(chance, message)
        content = message.SerializeToString()
        return content if chance.random() < 0.8 else mutated(chance, content)[:60_000]
    return mutated(chance, message.SerializeToString())[:60_000]


def _set(chance: random.Random, message: Message) -> None:
    """Give a field of ``message``, or of a message in it, another value; one that it does not take is left."""
    names = list(message.DESCRIPTOR.fields_by_name)
    if not names:
        return
    name = chance.choice(names)
    held = getattr(message, name)
    if isinstance(held, Message):
        held.SetInParent()
        _set(chance, held)
    elif hasattr(held, "add"):
        for _ in range(chance.choice((1, 3, 50))):
            _set(chance, held.add())
    elif not hasattr(held, "append"):
        value = chance.choice(VALUES)
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            setattr(message, name, type(held)(value) if type(held) in (int, str) else value)


async def _call(channel: Any, method: str, name: str, payload: bytes, chance: random.Random) -> str:
    if name not in _STREAMS:
        await channel.unary_unary(method)(payload, timeout=CALL_S)
        return "OK"
    if name == "Timeline":
        call = channel.stream_stream(method)(_timeline(payload, chance), timeout=CALL_S)
    else:
        call = channel.unary_stream(method)(payload, timeout=CALL_S)
    try:
        await call.read()
        return "OK" if not call.done() or await call.code() is grpc.StatusCode.OK else (await call.code()).name
    finally:
        call.cancel()


async def _timeline(payload: bytes, chance: random.Random) -> AsyncIterator[bytes]:
    yield payload
    for _ in range(chance.randint(0, 3)):
        yield mutated(chance, payload + chance.choice(TOKENS))[:9000]
