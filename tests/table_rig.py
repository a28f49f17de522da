"""A router's table on a clock of its own."""

from typing import Any, Literal

from snsnode.base.ids import Epoch, VmName
from snsnode.node.config import Endpoint
from snsnode.router.merge import News
from snsnode.router.table import (
    Server,
    ServerState,
    Table,
    Verdict,
    count_offer,
    crash,
    expire,
    members_of,
    register,
    suspect,
)

LEASE_S = 9.0
A, B, C = VmName("vm2"), VmName("vm3"), VmName("vm4")
MEMBERS = members_of(Endpoint(VmName(f"vm{number}"), "127.0.0.1", 3020) for number in range(2, 10))


def table(**more: Any) -> Table:
    """Return the table of a router whose spec has the servers vm2 to vm9."""
    return Table(members=MEMBERS, **more)


class Router:
    """A table and its clock."""

    def __init__(self, selection: Literal["single", "spread"] = "single", *, begins: bool = False) -> None:
        self.now_s = 100.0
        self.table = table(selection=selection, started_s=self.now_s if begins else None)
        self.look()

    def register(
        self,
        vm: VmName,
        epoch: int = 1,
        leaving: bool = False,
        clients: int = 0,
        claim: int = 0,
        logins: int = 0,
    ) -> Verdict:
        server = Server(
            vm,
            "127.0.0.1",
            3020,
            Epoch(epoch),
            leaving=leaving,
            clients=clients,
            claim=claim,
            logins=logins,
        )
        self.table, verdict = register(self.table, server, LEASE_S, self.now_s, confirmed=True)
        return verdict

    def crash(self, vm: VmName, epoch: int = 1) -> Verdict:
        self.table, verdict = crash(self.table, vm, Epoch(epoch), self.now_s)
        return verdict

    def suspect(self, vm: VmName, epoch: int = 1) -> None:
        self.table = suspect(self.table, vm, Epoch(epoch), self.now_s)

    def connect(self) -> VmName | None:
        server = self.table.offer(self.now_s)
        if server is not None:
            self.table = count_offer(self.table, server.vm, self.now_s)
        return server.vm if server else None

    def look(self) -> None:
        self.table = expire(self.table, self.now_s)

    def pass_time(self, for_s: float, *renewing: VmName) -> None:
        until_s = self.now_s + for_s
        while self.now_s < until_s:
            self.now_s += 0.1
            for vm in renewing:
                assert self.register(vm, self.table.servers[vm].epoch).accepted
            self.look()

    @property
    def offered(self) -> VmName | None:
        server = self.table.offer(self.now_s)
        return server.vm if server else None

    def claims(self) -> dict[VmName, int]:
        return {vm: server.claim for vm, server in self.table.servers.items()}

    def states(self) -> dict[VmName, ServerState]:
        return {vm: self.table.state_of(server) for vm, server in self.table.servers.items()}


def flap(router: Router, vm: VmName, times: int) -> int:
    """Let ``vm`` crash and come back, and return its epoch."""
    for _ in range(times):
        router.now_s += 0.1
        epoch = router.table.servers[vm].epoch
        assert router.crash(vm, epoch).accepted
        assert router.register(vm, epoch + 1).accepted
    return router.table.servers[vm].epoch


def news_of(table: Table) -> tuple[News, ...]:
    """Return what a router with ``table`` tells the others: what goes over the wire, without the wire."""
    return tuple(
        News(
            vm=server.vm,
            epoch=server.epoch,
            down=server.down,
            claim=server.claim,
            heard_s=server.heard_s,
            leaving=server.leaving,
            clients=server.clients,
            address=server.address,
            port=server.port,
        )
        for server in table.servers.values()
    )
