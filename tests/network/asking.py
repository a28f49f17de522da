"""The program of ``Agent``: does what it is asked on its VM, one thing at a time.

``python -m tests.network.asking`` reads a line of JSON, ``{"do": NAME, ...}``, and writes one with the answer,
until its input ends.
"""

import asyncio
import json
import sys
import time
from typing import Any

from snsnode.base.errors import SnsError
from snsnode.client import Client
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2
from snsnode.transport.channels import call, open_channel

ANSWER_S = 1.0


async def table(target: str) -> dict[str, Any]:
    """Return what the router at ``target`` knows."""
    channel = open_channel(target)
    try:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        told: router_pb2.TableReply = await call(stub.Table, router_pb2.TableRequest(), ANSWER_S)
    finally:
        await channel.close()
    prefix = "SERVER_STATE_"
    return {
        "available": told.available_vm,
        "states": {s.vm: server_pb2.ServerState.Name(s.state).removeprefix(prefix) for s in told.servers},
        "epochs": {s.vm: s.epoch for s in told.servers},
    }


async def crash(target: str, vm: str, host: str, port: int, epoch: int) -> dict[str, Any]:
    """Report a crash to the router at ``target``, as the slave of ``vm`` would."""
    channel = open_channel(target)
    try:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        info = server_pb2.ServerInfo(vm=vm, hostname=host, port=port, epoch=epoch)
        told: server_pb2.KeepAliveReply = await call(stub.Crash, info, ANSWER_S)
    finally:
        await channel.close()
    return {"accepted": told.accepted, "message": told.message}


async def register(
    target: str, vm: str, host: str, port: int, epoch: int, claim: int, leaving: bool
) -> dict[str, Any]:
    """Register a server with the router at ``target``, as the master of ``vm`` would."""
    channel = open_channel(target)
    try:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        info = server_pb2.ServerInfo(vm=vm, hostname=host, port=port, epoch=epoch, claim=claim, leaving=leaving)
        told: server_pb2.KeepAliveReply = await call(stub.RegisterServer, info, ANSWER_S)
    finally:
        await channel.close()
    return {"accepted": told.accepted, "message": told.message}


async def exchange(target: str, vm: str, down: str, host: str, port: int, epoch: int) -> dict[str, Any]:
    """Tell the router at ``target``, as the one on ``vm``, that the server on ``down`` has crashed."""
    channel = open_channel(target)
    try:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        state = server_pb2.SERVER_STATE_DOWN
        dead = server_pb2.ServerInfo(vm=down, hostname=host, port=port, epoch=epoch, state=state)
        await call(stub.Exchange, router_pb2.TableReply(vm=vm, servers=[dead]), ANSWER_S)
    finally:
        await channel.close()
    return {}


async def visit(routers: list[str], username: str, deadline_s: float) -> dict[str, Any]:
    """Log in, list the users, and leave; ``took_s`` is until the list was there."""
    began_s = time.monotonic()
    async with Client(routers, username=username, deadline_s=deadline_s) as client:
        await client.list()
        took_s = time.monotonic() - began_s
    return {"took_s": took_s}


ACTS = {act.__name__: act for act in (table, crash, register, exchange, visit)}


async def main() -> None:
    """Answer until the input ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        try:
            answer = await ACTS[order.pop("do")](**order)
        except SnsError as error:
            answer = {"error": f"{type(error).__name__}: {error.message}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
