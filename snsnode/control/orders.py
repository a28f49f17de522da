"""Orders to a master of this machine, over the socket in its VM's folder; and what the routers say meanwhile.

An order that is refused, or never reached the master, did not happen and will not. Where its answer is lost, that
is not known here: ``DeadlineExceeded`` says so, and the routers' tables tell.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Sequence
from typing import Any

from snsnode.base.errors import DeadlineExceeded, Refused, SnsError, Unavailable
from snsnode.node.config import Endpoint
from snsnode.node.lock import live_holder
from snsnode.node.paths import VmDir
from snsnode.rpc import master_pb2, master_pb2_grpc, router_pb2, router_pb2_grpc
from snsnode.transport.channels import call, open_channel

BEGIN_S = 3.0  # afterwards a master does not begin an order any more
ORDER_S = 4.0  # its answer comes 0.6 s later at most
REACH_S = 2.0  # to the master's socket
TABLE_S = 1.0


def drain(vm_dir: VmDir) -> master_pb2.DrainReply:
    """Let the master look at the operator's mark; return who is left.

    Raises:
        Unavailable: it does not run, or is not to be reached.
        Refused: it is busy.
        DeadlineExceeded: it does not answer.
    """
    request = master_pb2.DrainRequest(ticket=_ticket())
    reply: master_pb2.DrainReply = asyncio.run(_order(vm_dir, "Drain", request))
    return reply


def take_over(vm_dir: VmDir) -> master_pb2.TakeOverReply:
    """Let the master become the available one.

    Raises:
        Unavailable: it does not run, or is not to be reached; nothing was changed.
        Refused: it leaves, is busy, or reaches no router; nothing was changed.
        DeadlineExceeded: its answer did not come; it may have become that.
    """
    request = master_pb2.TakeOverRequest(ticket=_ticket())
    reply: master_pb2.TakeOverReply = asyncio.run(_order(vm_dir, "TakeOver", request))
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


def _ticket() -> master_pb2.OrderTicket:
    until_s = time.clock_gettime(time.CLOCK_BOOTTIME) + BEGIN_S
    return master_pb2.OrderTicket(id=uuid.uuid4().hex, until_ms=round(until_s * 1000))


async def _order(vm_dir: VmDir, method: str, request: object) -> Any:
    vm = vm_dir.path.name
    if live_holder(vm_dir, "master") is None:
        raise Unavailable(f"the master of {vm} does not run; 'snsctl start slave --vm {vm}' starts it")
    # A socket's name may have 107 bytes only, and a path may be longer: name its folder by a descriptor.
    folder = os.open(vm_dir.run, os.O_PATH | os.O_DIRECTORY)
    channel = open_channel(f"unix:/proc/self/fd/{folder}/master.sock")
    try:
        async with asyncio.timeout(REACH_S):
            await channel.channel_ready()
        return await call(getattr(master_pb2_grpc.OrdersStub(channel), method), request, ORDER_S)
    except TimeoutError:
        raise Unavailable(f"the master of {vm} does not take orders: its socket answers nobody") from None
    except Refused as error:
        raise type(error)(f"the master of {vm} refuses: {error.message}") from None
    except SnsError as error:
        raise DeadlineExceeded(
            f"the answer of the master of {vm} is lost ({error.message}): whether it did as it was told is not "
            "known here; 'snsctl status' tells"
        ) from None
    finally:
        await channel.close()
        os.close(folder)
