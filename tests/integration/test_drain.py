"""``snsctl drain``, ``undrain`` and ``switchover`` on a real cluster with two routers, and what survives what."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from snsnode.client import Client, Event, Reconnecting
from snsnode.node import intent
from snsnode.rpc import master_pb2, master_pb2_grpc
from snsnode.transport.channels import CHANNEL_OPTIONS
from tests.cluster import Cluster, running
from tests.eventually import eventually, eventually_async

pytestmark = pytest.mark.integration

CLIENTS = 6
BACK_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def whole() -> Iterator[Cluster]:
    with running(servers=2, routers=2) as started:
        yield started


@pytest.fixture
def cluster(whole: Cluster) -> Iterator[Cluster]:
    whole.await_spares()
    whole.await_available()
    yield whole
    for vm in whole.server_vms:
        whole.ctl("undrain", vm)


def server(cluster: Cluster, vm: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in cluster.status()["servers"] if each["vm"] == vm)
    return found


def other(cluster: Cluster, vm: str) -> str:
    [found] = set(cluster.server_vms) - {vm}
    return found


def choices(cluster: Cluster) -> set[str | None]:
    """Return whom the routers that answer give to clients."""
    return {router["available"] for router in cluster.status()["routers"] if router["state"] == "UP"}


def test_drain_moves_clients_without_a_failed_call_or_a_reconnection(cluster: Cluster) -> None:
    vm = cluster.await_available()
    events: list[Event] = []
    seen: list[str] = []

    async def use() -> None:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    Client(cluster.router_targets, username=f"user{number}", on_event=events.append)
                )
                for number in range(CLIENTS)
            ]
            await clients[0].follow("user1")
            timeline = clients[0].timeline()
            assert await timeline.history() == []

            async def read() -> None:
                async for post in timeline:
                    seen.append(post.text)

            reader = asyncio.create_task(read())
            draining = asyncio.create_task(asyncio.to_thread(cluster.ctl, "drain", vm))
            sent = 0
            while not draining.done() or sent < 5:
                await asyncio.gather(*(client.post(f"{sent}") for client in clients))
                sent += 1
            assert draining.result().stdout == f"{vm}: drained; 'snsctl undrain {vm}' ends it\n"
            for client in clients:
                await client.post("after")
            expected = [str(number) for number in range(sent)] + ["after"]
            await eventually_async(lambda: len(seen) >= len(expected), BACK_WITHIN_S)
            assert seen == expected
            reader.cancel()
            await asyncio.wait([reader])

    asyncio.run(use())
    assert not [event for event in events if isinstance(event, Reconnecting)]

    def is_empty() -> bool:  # a router hears it at the next renewal
        drained = server(cluster, vm)
        return (drained["draining"], drained["state"], drained["clients"]) == (True, "STANDBY", 0)

    eventually(is_empty, BACK_WITHIN_S)
    assert cluster.status()["available"] == other(cluster, vm)
    assert "draining" in cluster.ctl("status").stdout
    assert cluster.ctl("drain", vm).returncode == 0  # again: it is so already
    assert cluster.ctl("undrain", vm).stdout == f"{vm}: takes clients again\n"
    assert cluster.ctl("undrain", vm).stdout == f"{vm}: was not drained\n"
    assert not server(cluster, vm)["draining"]
    assert cluster.status()["available"] == other(cluster, vm)  # the choice is sticky


def test_only_undrain_ends_a_drain(cluster: Cluster) -> None:
    vm = other(cluster, cluster.await_available())
    cluster.ctl("drain", vm)

    def assert_drained() -> None:
        def is_drained() -> bool:
            found = server(cluster, vm)
            assert (found["draining"], found["state"]) == (True, "STANDBY"), found
            return True

        eventually(is_drained, BACK_WITHIN_S, every_s=0.2)

    pid = cluster.pid(vm, "master")
    cluster.kill(vm, "master")  # the spare takes over
    cluster.await_role(vm, "master", BACK_WITHIN_S, other_than=pid)
    assert_drained()
    cluster.ctl("restart", "master", "--vm", vm)
    assert_drained()
    cluster.ctl("stop", "--vm", vm)
    cluster.ctl("start", "--vm", vm)
    assert_drained()
    assert intent.is_drained(cluster.vm_dir(vm))
    # Not even when the other one dies for a moment does it stay chosen.
    available = other(cluster, vm)
    epoch = server(cluster, available)["epoch"]
    cluster.kill(available, "master")
    eventually(lambda: server(cluster, available)["epoch"] > epoch, BACK_WITHIN_S)
    eventually(lambda: choices(cluster) == {available}, BACK_WITHIN_S)


def test_switchover_makes_available_and_it_stays_so(cluster: Cluster) -> None:
    was = cluster.await_available()
    vm = other(cluster, was)
    said = cluster.ctl("switchover", vm).stdout
    assert said == f"available: {vm} (was {was}), says {', '.join(cluster.router_vms)}\n"
    assert choices(cluster) == {vm}
    pids = {name: cluster.pid(name, "router") for name in cluster.router_vms}
    for name in cluster.router_vms:  # each begins anew beside the other
        cluster.kill(name, "router")
        cluster.await_role(name, "router", BACK_WITHIN_S, other_than=pids[name])
        eventually(lambda: len(cluster.status()["notes"]) == 0, BACK_WITHIN_S, every_s=0.2)
        assert choices(cluster) == {vm}
    pids = {name: cluster.pid(name, "router") for name in cluster.router_vms}
    for name in cluster.router_vms:  # and both at once: only the masters know
        cluster.kill(name, "router")
    for name in cluster.router_vms:
        cluster.await_role(name, "router", BACK_WITHIN_S, other_than=pids[name])
    eventually(lambda: choices(cluster) == {vm}, BACK_WITHIN_S, every_s=0.2)
    assert cluster.await_available() == vm


def test_switchover_while_a_router_is_frozen_is_told_to_it_later(cluster: Cluster) -> None:
    vm = other(cluster, cluster.await_available())
    silent = cluster.router_vms[1]
    cluster.signal(silent, "router", signal.SIGSTOP)
    try:
        said = cluster.ctl("switchover", vm).stdout
    finally:
        cluster.signal(silent, "router", signal.SIGCONT)
    assert f"says {cluster.router_vm}\n" in said
    assert f"not answering, and to be told by the others: {silent} at " in said
    eventually(lambda: choices(cluster) == {vm} and cluster.status()["routers_agree"], BACK_WITHIN_S)


def test_switchover_to_a_frozen_master_does_not_happen_when_it_goes_on(cluster: Cluster) -> None:
    was = cluster.await_available()
    vm = other(cluster, was)
    cluster.ctl("pause", "--vm", vm)  # else its slave ends it
    cluster.signal(vm, "master", signal.SIGSTOP)
    try:
        refused = cluster.ctl("switchover", vm, code=1).stderr
    finally:
        cluster.signal(vm, "master", signal.SIGCONT)
        cluster.ctl("resume", "--vm", vm)
    assert f"the master of {vm} does not take orders" in refused or "'snsctl status' tells" in refused
    cluster.ctl("undrain", vm)
    eventually(lambda: server(cluster, vm)["state"] == "STANDBY", BACK_WITHIN_S, every_s=0.2)
    assert choices(cluster) == {was}


def test_switchover_is_refused_in_words(cluster: Cluster) -> None:
    vm = other(cluster, cluster.await_available())
    cluster.ctl("drain", vm)
    refused = cluster.ctl("switchover", vm, code=1).stderr
    assert refused == f"snsctl: cannot switch over to {vm}: it is drained; 'snsctl undrain {vm}' ends that\n"
    cluster.ctl("undrain", vm)
    cluster.ctl("stop", "master", "--vm", vm)
    refused = cluster.ctl("switchover", vm, code=1).stderr
    assert refused.startswith(f"snsctl: cannot switch over to {vm}: the master of {vm} does not run; ")
    cluster.ctl("start", "master", "--vm", vm)
    for name in cluster.router_vms:
        cluster.signal(name, "router", signal.SIGSTOP)
    try:
        refused = cluster.ctl("switchover", vm, code=1).stderr
    finally:
        for name in cluster.router_vms:
            cluster.signal(name, "router", signal.SIGCONT)
    assert refused.startswith(f"snsctl: cannot switch over to {vm}: no router answers (vm1 at ")
    assert "it has no server" in cluster.ctl("switchover", "vm1", code=2).stderr
    assert "cannot drain without a VM" in cluster.ctl("drain", code=2).stderr


def test_a_vm_that_lives_elsewhere_is_refused_with_its_address() -> None:
    with running(servers=1, start=False) as cluster:
        with cluster.spec.open("a") as spec:
            spec.write("  vm9: {address: 192.0.2.7, server: {port: 3090}}\nseparate_data: true\n")
        for command, verb in (("drain", "drain"), ("undrain", "undrain"), ("switchover", "switch over to")):
            refused = cluster.ctl(command, "vm9", code=2).stderr
            assert refused == f"snsctl: cannot {verb} vm9: it is on another machine, 192.0.2.7; do it there\n"


def test_orders_are_taken_on_no_port(cluster: Cluster) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{cluster.ports['vm2']}", options=CHANNEL_OPTIONS) as channel:
        stub: Any = master_pb2_grpc.OrdersStub(channel)
        for method, request in (
            (stub.Drain, master_pb2.DrainRequest()),
            (stub.TakeOver, master_pb2.TakeOverRequest()),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                method(request, timeout=5)
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_only_server_keeps_its_clients() -> None:
    with running(servers=1) as cluster:
        cluster.await_available()
        assert cluster.ctl("drain", "vm2").stdout == (
            "vm2 is the only server that a router offers: its clients stay (0 clients)\n"
        )

        async def use() -> None:
            async with Client(cluster.router_targets, username="alice") as alice:
                await alice.post("hello")
                done = await asyncio.to_thread(cluster.ctl, "drain", "vm2", code=1)
                assert done.stdout == "vm2 is the only server that a router offers: its clients stay (1 client)\n"
                await alice.post("still here")

        asyncio.run(use())
        found = cluster.status()
        assert (found["available"], found["servers"][0]["draining"]) == ("vm2", True)
        assert "vm2 is drained, and given to clients all the same: no router has another server" in found["notes"]


def test_spread_has_nothing_to_switch_over() -> None:
    with running(servers=1, more="selection: spread", start=False) as cluster:
        refused = cluster.ctl("switchover", "vm2", code=2).stderr
        assert "with 'selection: spread' every server is available" in refused
