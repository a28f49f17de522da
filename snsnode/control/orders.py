"""Orders to a master of this machine, over the socket in its VM's folder; and what the routers say meanwhile."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from snsnode.base.errors import DeadlineExceeded, SnsError, Unavailable
from snsnode.node.config import Endpoint
from snsnode.node.lock import live_holder
from snsnode.node.paths import VmDir
from snsnode.rpc import master_pb2, master_pb2_grpc, router_pb2, router_pb2_grpc
from snsnode.transport.channels import call, open_channel

ORDER_S = 4.0  # a master takes at most 3 s
TABLE_S = 1.0


def drain(vm_dir: VmDir) -> master_pb2.DrainReply:
    """Let the master look at the operator's mark; return who is left.

    Raises:
        Unavailable: it does not run or does not answer.
    """
    reply: master_pb2.DrainReply = asyncio.run(_order(vm_dir, "Drain", master_pb2.DrainRequest()))
    return reply


def take_over(vm_dir: VmDir) -> master_pb2.TakeOverReply:
    """Let the master become the available one.

    Raises:
        Unavailable: it does not run, does not answer, or reaches no router.
        NotAllowed: it leaves.
    """
    reply: master_pb2.TakeOverReply = asyncio.run(_order(vm_dir, "TakeOver", master_pb2.TakeOverRequest()))
    return reply


def tables(routers: Sequence[Endpoint]) -> dict[Endpoint, router_pb2.TableReply | None]:
    """Ask every router for its table at once; None for one that does not answer within ``TABLE_S``."""

    async def ask() -> list[router_pb2.TableReply | None]:
        return list(await asyncio.gather(*(table(router, TABLE_S) for router in routers)))

    return dict(zip(routers, asyncio.run(ask()), strict=True))


async def table(router: Endpoint, within_s: float) -> router_pb2.TableReply | None:
    """Ask one router for its table; None where it does not answer in time."""
    channel = open_channel(router.target)
    try:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        return await call(stub.Table, router_pb2.TableRequest(), within_s)
    except SnsError:
        return None
    finally:
        await channel.close()


async def _order(vm_dir: VmDir, method: str, request: object) -> Any:
    vm = vm_dir.path.name
    if live_holder(vm_dir, "master") is None:
        raise Unavailable(f"the master of {vm} does not run; 'snsctl start slave --vm {vm}' starts it")
    # A socket's name may have 107 bytes only, and a path may be longer: name its folder by a descriptor.
    folder = os.open(vm_dir.run, os.O_PATH | os.O_DIRECTORY)
    channel = open_channel(f"unix:/proc/self/fd/{folder}/master.sock")
    try:
        return await call(getattr(master_pb2_grpc.OrdersStub(channel), method), request, ORDER_S)
    except (Unavailable, DeadlineExceeded) as error:
        raise Unavailable(f"the master of {vm} does not take the order: {error.message}") from None
    finally:
        await channel.close()
        os.close(folder)
