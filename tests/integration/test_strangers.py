"""A stranger tells the routers of a real cluster lies; its clients, and what ``status`` says, are as before."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from snsnode.client import Client
from snsnode.node import cluster as clusters
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2
from tests.cluster import Cluster, running
from tests.eventually import eventually, eventually_async

pytestmark = pytest.mark.integration

WITHIN_S = 20.0
NEWCOMERS = 6
EVERY_S = 0.005  # 200 lies a second to each router: it is no flood, which would be another test
THREADS_MAX = 8  # more than a router had before


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(servers=2, routers=2, spare=False) as started:
        started.await_available()
        yield started


def roles(cluster: Cluster) -> dict[str, int]:
    pairs = {f"{vm} {role}": cluster.pid(vm, role) for vm in cluster.server_vms for role in ("master", "slave")}
    return pairs | {f"{vm} router": cluster.pid(vm, "router") for vm in cluster.router_vms}


def epochs(cluster: Cluster) -> dict[str, int]:
    return {server["vm"]: server["epoch"] for server in cluster.status()["servers"]}


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def lies(cluster: Cluster, known: dict[str, int], number: int) -> list[tuple[str, Any]]:
    """Return the calls of one round."""

    def info(vm: str, epoch: int, port: int = 0, **more: Any) -> server_pb2.ServerInfo:
        place: dict[str, Any] = {"hostname": "127.0.0.1", "port": port or cluster.ports.get(vm, 1)}
        return server_pb2.ServerInfo(**place | more, vm=vm, epoch=epoch)

    leap = known["vm2"] + 1_000_006 + number
    mine = info("evil", 1, 6_666, claim=number + 1)
    everywhere = router_pb2.TableReply(
        vm=cluster.router_vms[1], servers=[mine, info("vm2", leap), info("vm3", 2**61)]
    )
    return [
        ("RegisterServer", mine),
        ("RegisterServer", info("vm2", known["vm2"] + 1, 6_666, claim=number + 1)),
        ("RegisterServer", info("vm2", leap)),
        ("RegisterServer", info(f"bogus{number}", 1, 6_666)),
        ("Crash", info("vm3", 2**61)),
        ("Crash", info("vm2", 1, hostname=f"h{number}.example.com")),
        ("Exchange", everywhere),
    ]


@asynccontextmanager
async def liar(cluster: Cluster, known: dict[str, int]) -> AsyncIterator[list[int]]:
    """Tell lies to every router meanwhile; gives how many were told, and how many were taken."""
    counts = [0, 0]

    async def lie(target: str) -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            stub: Any = router_pb2_grpc.RouterStub(channel)
            number = 0
            while True:
                number += 1
                for method, request in lies(cluster, known, number):
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        reply = await getattr(stub, method)(request, timeout=WITHIN_S)
                        counts[1] += getattr(reply, "accepted", False)
                    counts[0] += 1
                    await asyncio.sleep(EVERY_S)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(lie(target), name=f"lie-{target}") for target in cluster.router_targets]
        try:
            yield counts
        finally:
            for task in tasks:
                task.cancel()


async def newcomer(cluster: Cluster, name: str) -> float:
    began_s = time.monotonic()
    async with Client(cluster.router_targets, username=name, deadline_s=WITHIN_S) as client:
        await client.post("hello")
    return time.monotonic() - began_s


def test_while_a_stranger_lies_newcomers_are_served_and_status_is_true(cluster: Cluster) -> None:
    async def attack() -> tuple[list[float], list[int]]:
        async with liar(cluster, known) as counts:
            took_s = [await newcomer(cluster, f"newcomer{number}") for number in range(NEWCOMERS)]

            async def has_lied_enough() -> bool:
                return counts[0] >= 400

            await eventually_async(has_lied_enough, WITHIN_S)
            assert epochs(cluster) == known
            return took_s, counts

    before, known = roles(cluster), epochs(cluster)
    had = {vm: threads(cluster.pid(vm, "router")) for vm in cluster.router_vms}
    _, (_, taken) = asyncio.run(attack())
    assert taken == 0
    assert {vm: threads(cluster.pid(vm, "router")) - had[vm] <= THREADS_MAX for vm in had} == dict.fromkeys(
        had, True
    )
    found = cluster.status_json()
    assert sorted(server["state"] for server in found["servers"]) == ["AVAILABLE", "STANDBY"]
    assert {server["vm"]: server["epoch"] for server in found["servers"]} == known
    assert roles(cluster) == before
    for vm in cluster.router_vms:
        text = cluster.vm_dir(vm).log("router").read_text()
        assert 1 <= text.count("refused, for") <= 6
        assert "evil" in text  # and that is told
    asyncio.run(newcomer(cluster, "afterwards"))


def test_router_takes_a_changed_list_without_a_restart_and_lives_with_a_damaged_one(cluster: Cluster) -> None:
    before, whole = roles(cluster), cluster.spec.read_text()
    file = cluster.vm_dir("vm1").path / clusters.FILENAME
    try:
        cluster.spec.write_text("".join(line for line in whole.splitlines(keepends=True) if "vm3:" not in line))
        cluster.generate()
        eventually(lambda: known_to(cluster) == {"vm2"}, WITHIN_S)
        file.write_text("{broken")
        log = cluster.vm_dir("vm1").log("router")
        eventually(lambda: "goes by the last good one" in log.read_text(), WITHIN_S)
        assert known_to(cluster) == {"vm2"}
    finally:
        cluster.spec.write_text(whole)
        cluster.generate()
    eventually(lambda: known_to(cluster) == {"vm2", "vm3"}, WITHIN_S)
    cluster.await_available()
    assert roles(cluster) == before


def known_to(cluster: Cluster) -> set[str]:
    """Return the VMs in the table of the first router."""
    with grpc.insecure_channel(cluster.router_targets[0]) as channel:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        table = stub.Table(router_pb2.TableRequest(), timeout=WITHIN_S)
    return {server.vm for server in table.servers}
