"""The router's messages: from what comes over the wire to what the table takes, checked, and back."""

import re

from snsnode.base.errors import InvalidInput
from snsnode.base.ids import Epoch, VmName, shown
from snsnode.node.cluster import ENDPOINTS_MAX
from snsnode.router.flapping import NEVER_S
from snsnode.router.merge import News
from snsnode.router.table import Server, ServerState, Table
from snsnode.rpc import router_pb2, server_pb2

EPOCH_END = 2**62  # a store keeps 63 bits; what we believe must leave room to rise above it
CLAIM_END = 2**62
HEARD_MAX_MS = 2**32 - 1

# What the spec allows: nobody can put a line of its own into a log, or fill the memory with one name.
_VM = re.compile(r"[a-z][a-z0-9-]{0,31}")
_HOST = re.compile(r"[!-~]{1,255}")

STATES = {
    ServerState.AVAILABLE: server_pb2.SERVER_STATE_AVAILABLE,
    ServerState.STANDBY: server_pb2.SERVER_STATE_STANDBY,
    ServerState.SUSPECT: server_pb2.SERVER_STATE_SUSPECT,
    ServerState.DOWN: server_pb2.SERVER_STATE_DOWN,
}


def server_of(info: server_pb2.ServerInfo) -> Server:
    """Return the server that a master or a slave told of.

    Raises:
        InvalidInput: it cannot be one.
    """
    if not _VM.fullmatch(info.vm) or not _HOST.fullmatch(info.hostname) or not 1 <= info.port <= 65535:
        raise InvalidInput(
            f"cannot take {shown(info.vm)} at {shown(info.hostname)}:{info.port} for a server: "
            "give the name of a VM, a host and a port from 1 to 65535"
        )
    for what, number, end in (("epoch", info.epoch, EPOCH_END), ("claim", info.claim, CLAIM_END)):
        if number >= end:
            raise InvalidInput(f"cannot take {what} {number} of {info.vm}: give one below {end}")
    return Server(
        vm=VmName(info.vm),
        address=info.hostname,
        port=info.port,
        epoch=Epoch(info.epoch),
        leaving=info.leaving,
        clients=info.clients,
        logins=info.logins,
        claim=info.claim,
    )


def info_of(table: Table, server: Server, now_s: float) -> server_pb2.ServerInfo:
    """Return what is told of ``server`` to clients, operators and other routers."""
    heard_ms = None
    if server.heard_s != NEVER_S:
        heard_ms = min(max(0, round((now_s - server.heard_s) * 1000)), HEARD_MAX_MS)
    return server_pb2.ServerInfo(
        vm=server.vm,
        hostname=server.address,
        port=server.port,
        epoch=server.epoch,
        state=STATES[table.state_of(server)],
        leaving=server.leaving,
        clients=server.clients,
        claim=server.claim,
        heard_ms_ago=heard_ms,
    )


def told_of(reply: router_pb2.TableReply, at_s: float) -> list[News]:
    """Return the news in another router's table, which it told at ``at_s``; what is no server, or more than a
    spec can have, is left out."""
    told: list[News] = []
    for info in reply.servers[:ENDPOINTS_MAX]:
        try:
            server = server_of(info)
        except InvalidInput:
            continue
        told.append(
            News(
                vm=server.vm,
                epoch=server.epoch,
                down=info.state == server_pb2.SERVER_STATE_DOWN,
                claim=server.claim,
                heard_s=at_s - info.heard_ms_ago / 1000 if info.HasField("heard_ms_ago") else NEVER_S,
                leaving=server.leaving,
                clients=server.clients,
                address=server.address,
                port=server.port,
            )
        )
    return told
