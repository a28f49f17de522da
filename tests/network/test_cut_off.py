"""Rows 9 and 11: who is cut off from somebody is neither dead nor at fault, and what it did before goes on."""

import threading
import time
from typing import Any

import pytest

from snsnode.client.attempts import SLOW_S  # after which a client doubts its server, and may be sent to another
from tests.chaos import scene as processes
from tests.network.agent import Agent
from tests.network.callers import Callers
from tests.network.cluster import LEASE_S, NetworkCluster
from tests.network.proxies import Proxies
from tests.network.scene import await_settled, both_ways, cut, hold_for, vanished, vm_at, whole

pytestmark = pytest.mark.chaos

LATENCY_S = 0.25  # there and back it takes longer than that
AWAY_S = 3.0
DEADLINE_S = 30.0


def assert_stayed(callers: Callers, since_s: float) -> None:
    """Fail where a client moved, unless a call took so long on a busy machine that it had a reason."""
    moves = callers.moves_after(since_s)
    assert not moves or callers.slowest_s(since_s) >= SLOW_S, moves


def assert_nobody_fell(cluster: NetworkCluster, before: dict[tuple[str, str], Any]) -> None:
    """Fail where a partner was restarted, or a verdict on one was spoken."""
    assert whole(cluster) == before, cluster.tails()
    for vm in cluster.server_vms:
        assert not processes.entries(cluster, vm, "slave-down")


@pytest.mark.parametrize("way", ["to-the-router", "from-the-router", "both-ways"])
def test_server_cut_off_from_the_router_is_not_restarted_and_keeps_its_clients(
    cluster: NetworkCluster, way: str
) -> None:
    """Router silence never restarts anything, and clients have no need of a router while they are served."""
    with Agent(cluster, "r1") as agent, Callers(cluster, every_s=0.1) as callers:
        await_settled(agent)
        before = whole(cluster)
        vm = vm_at(cluster, callers.server())
        links = {"to-the-router": [(vm, "r1")], "from-the-router": [("r1", vm)], "both-ways": both_ways(vm, "r1")}
        with cut(cluster, *links[way]) as at_s:
            hold_for(LEASE_S + 2.0, lambda: whole(cluster) == before)
            assert_stayed(callers, at_s)
        await_settled(agent)
        assert_stayed(callers, at_s)
        assert_nobody_fell(cluster, before)
        callers.finish()


@pytest.mark.needs_proxies
@pytest.mark.parametrize("way", ["to-the-router", "both-ways"])
def test_slave_alone_cut_off_from_the_router_changes_nothing(cluster: NetworkCluster, way: str) -> None:
    """The slave's line to the router is for bad news only: without news nobody may miss it."""
    with Agent(cluster, "r1") as agent, Callers(cluster, every_s=0.1) as callers:
        chosen = await_settled(agent)
        before = whole(cluster)
        slave = f"{vm_at(cluster, callers.server())}/slave"
        links = [(slave, "r1")] if way == "to-the-router" else both_ways(slave, "r1")
        with cut(cluster, *links) as at_s:
            hold_for(LEASE_S + 2.0, lambda: agent.table("r1")["available"] == chosen and whole(cluster) == before)
        assert_stayed(callers, at_s)
        assert await_settled(agent) == chosen
        assert_nobody_fell(cluster, before)
        callers.finish()


@pytest.mark.both_networks
def test_calls_of_a_client_that_is_cut_off_for_three_seconds_finish_within_their_deadline(
    cluster: NetworkCluster,
) -> None:
    """The cluster is well, so whoever comes back finds everything where it was; no call is lost or made twice."""
    with Agent(cluster, "r1") as agent, Callers(cluster) as callers:
        chosen = await_settled(agent)
        before = whole(cluster)
        callers.server()
        with vanished(cluster, "c1") as at_s:
            time.sleep(AWAY_S)
        callers.await_call(at_s + AWAY_S, DEADLINE_S)
        assert callers.slowest_s(at_s) < DEADLINE_S
        assert await_settled(agent) == chosen
        assert_nobody_fell(cluster, before)
        callers.finish()


@pytest.mark.both_networks
def test_calls_go_on_while_the_only_router_is_away_and_new_clients_wait_for_it(cluster: NetworkCluster) -> None:
    """Clients keep their master; leases that nobody could renew are the router's own fault."""
    with Agent(cluster, "r1") as agent, Agent(cluster, "c2") as newcomer, Callers(cluster, every_s=0.1) as callers:
        chosen = await_settled(agent)
        before = whole(cluster)
        callers.server()
        visit: dict[str, Any] = {}
        visitor = threading.Thread(target=lambda: visit.update(newcomer.visit("newcomer", DEADLINE_S)))
        with vanished(cluster, "r1") as at_s:
            visitor.start()
            hold_for(LEASE_S + 2.0, lambda: whole(cluster) == before)
            callers.await_call(at_s + LEASE_S, SLOW_S + 5.0)
            assert_stayed(callers, at_s)
            assert not visit
        visitor.join()
        assert "took_s" in visit, visit
        assert await_settled(agent) == chosen
        assert_stayed(callers, at_s)
        assert_nobody_fell(cluster, before)
        callers.finish()


@pytest.mark.needs_proxies
def test_slow_line_to_a_server_is_no_dead_server(cluster: NetworkCluster) -> None:
    """Each call is slower than what makes a client doubt; the router's probe stands by the server."""
    assert isinstance(cluster.fabric, Proxies)
    with Agent(cluster, "r1") as agent, Callers(cluster, posters=1) as callers:
        chosen = await_settled(agent)
        before = whole(cluster)
        vm = vm_at(cluster, callers.server())
        at_s = time.monotonic()
        try:
            for source, target in both_ways("c1", vm):
                cluster.fabric.delay(source, target, LATENCY_S)
            callers.await_call(at_s, DEADLINE_S, cluster.target(vm))
            callers.await_call(at_s + AWAY_S, DEADLINE_S, cluster.target(vm))
        finally:
            for source, target in both_ways("c1", vm):
                cluster.fabric.delay(source, target, 0)
        assert {move.server for move in callers.moves_after(at_s)} <= {cluster.target(vm)}
        assert await_settled(agent) == chosen
        assert_nobody_fell(cluster, before)
        callers.finish()
