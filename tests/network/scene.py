"""What the network tests ask of a cluster again and again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.chaos import scene
from tests.eventually import eventually
from tests.network.agent import Agent
from tests.network.cluster import LEASE_S, NetworkCluster

SETTLED_WITHIN_S = 30.0
EXPIRED_WITHIN_S = LEASE_S + 5.0  # the machine may be busy


def vm_at(cluster: NetworkCluster, target: str) -> str:
    """Return the server VM that listens at ``target``."""
    return next(vm for vm in cluster.server_vms if cluster.target(vm) == target)


def other_than(cluster: NetworkCluster, vm: str) -> str:
    """Return the other one of two server VMs."""
    (other,) = set(cluster.server_vms) - {vm}
    return other


def whole(cluster: NetworkCluster) -> dict[tuple[str, str], Any]:
    """Return both partners of every server: who restarts one changes this."""
    return {(vm, role): cluster.process(vm, role) for vm in cluster.server_vms for role in scene.PARTNERS}


def await_settled(agent: Agent, router: str = "r1") -> str:
    """Wait until ``router`` knows all servers and doubts none; return the available VM."""

    def settled() -> str:
        table = agent.table(router)
        assert sorted(table.get("states", {}).values()) == ["AVAILABLE", "STANDBY"], table
        return str(table["available"])

    return eventually(settled, SETTLED_WITHIN_S, every_s=0.05)


def hold_for(seconds: float, fact: Any) -> None:
    """Fail where ``fact()`` is false at any time within ``seconds``; what it returns is shown."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        assert fact()
        time.sleep(0.05)


@contextmanager
def vanished(cluster: NetworkCluster, vm: str) -> Iterator[float]:
    """Let ``vm`` vanish during the ``with`` block; gives the moment at which it began."""
    at_s = time.monotonic()
    cluster.fabric.vanish(vm)
    try:
        yield at_s
    finally:
        cluster.fabric.come_back(vm)


@contextmanager
def cut(cluster: NetworkCluster, *links: tuple[str, str]) -> Iterator[float]:
    """Cut these directed links during the ``with`` block; gives the moment at which it began."""
    at_s = time.monotonic()
    for source, target in links:
        cluster.fabric.cut(source, target)
    try:
        yield at_s
    finally:
        for source, target in links:
            cluster.fabric.heal(source, target)


def both_ways(one: str, *others: str) -> list[tuple[str, str]]:
    """Return the links between ``one`` and each of ``others``, in both directions."""
    return [link for other in others for link in ((one, other), (other, one))]
