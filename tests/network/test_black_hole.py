"""Row 12: a whole VM vanishes under its clients: no connection is reset, and nobody is left to report a crash.

The leases are as shipped, 9 s, so that they have no part in it: the clients' reports and the router's probe are
what is left to find it out with.
"""

from collections.abc import Iterator

import pytest

from tests.eventually import eventually
from tests.network.agent import Agent
from tests.network.callers import Callers
from tests.network.cluster import AS_SHIPPED, NetworkCluster, joined
from tests.network.scene import await_settled, other_than, vanished, vm_at, whole

pytestmark = [pytest.mark.chaos, pytest.mark.both_networks]

SERVED_WITHIN_S = 5.0  # the figures are p50 0.7 s and p99 1.5 s, measured by bench/network.py
NOTICED_WITHIN_S = 6.0  # pings: 1 s between two, 1 s for an answer; then a login elsewhere


@pytest.fixture(scope="module")
def cluster(kind: str) -> Iterator[NetworkCluster]:
    with joined(kind, keepalive=AS_SHIPPED) as made:
        yield made


def test_clients_of_a_vm_that_vanished_are_served_by_the_other(cluster: NetworkCluster) -> None:
    """And no post is lost or doubled, also those that were under way, and arrive when it is back."""
    with Agent(cluster, "r1") as agent, Callers(cluster) as callers:
        await_settled(agent)
        before = whole(cluster)
        lost = vm_at(cluster, callers.server())
        other = other_than(cluster, lost)
        with vanished(cluster, lost) as at_s:
            served = callers.await_answer(at_s, SERVED_WITHIN_S, cluster.target(other))
            callers.await_seen(served.text, SERVED_WITHIN_S)  # the open timeline went on, too
        assert await_settled(agent) == other
        assert whole(cluster) == before
        callers.finish()


def test_idle_clients_notice_a_server_that_vanished_without_a_word(cluster: NetworkCluster) -> None:
    """Half open: they wait for nothing, so only their connection's pings can tell them."""
    with Agent(cluster, "r1") as agent, Callers(cluster, posters=1, every_s=3600) as callers:
        await_settled(agent)
        lost = vm_at(cluster, callers.server())
        other = cluster.target(other_than(cluster, lost))
        with vanished(cluster, lost) as at_s:

            def moved() -> bool:
                return {move.who for move in callers.moves_after(at_s) if move.server == other} == {
                    move.who for move in callers.moves
                }

            eventually(moved, NOTICED_WITHIN_S)
        await_settled(agent)
        callers.finish()
