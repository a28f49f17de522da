"""Two routers: one that vanishes is invisible to users, and two that could not speak agree when they can again."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.eventually import eventually
from tests.network.agent import Agent
from tests.network.callers import Callers
from tests.network.cluster import LEASE_S, NetworkCluster, joined
from tests.network.scene import (
    EXPIRED_WITHIN_S,
    await_settled,
    both_ways,
    cut,
    hold_for,
    other_than,
    vanished,
    whole,
)
from tests.network.test_cut_off import assert_nobody_fell, assert_stayed

pytestmark = pytest.mark.chaos

CONNECT_WITHIN_S = 5.0
AGREE_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def cluster(kind: str) -> Iterator[NetworkCluster]:
    with joined(kind, routers=2) as made:
        yield made


@pytest.mark.both_networks
def test_router_that_vanishes_is_invisible_to_users(cluster: NetworkCluster) -> None:
    """Those who are served need none, and a newcomer does not wait for one that is silent."""
    with Agent(cluster, "r2") as agent, Agent(cluster, "c2") as newcomer, Callers(cluster, every_s=0.1) as callers:
        chosen = await_settled(agent, "r2")
        before = whole(cluster)
        callers.server()
        with vanished(cluster, "r1") as at_s:
            for _ in range(3):
                visit = newcomer.visit("newcomer")
                assert visit.get("took_s", CONNECT_WITHIN_S) < CONNECT_WITHIN_S, visit
            hold_for(LEASE_S + 1.0, lambda: whole(cluster) == before)
            callers.await_call(at_s + LEASE_S, CONNECT_WITHIN_S)
        assert_stayed(callers, at_s)
        assert await_settled(agent, "r2") == chosen
        await_settled(agent, "r1")
        assert_nobody_fell(cluster, before)
        callers.finish()


def test_routers_that_could_not_speak_agree_when_they_can_again(cluster: NetworkCluster) -> None:
    """In a partition each doubts whom it does not hear; their clients must not be told two things for long."""
    with Agent(cluster, "r1") as first, Agent(cluster, "r2") as second:
        chosen = await_settled(first, "r1")
        other = other_than(cluster, chosen)
        before = whole(cluster)

        def agree() -> Any:
            told, also_told = first.table("r1"), second.table("r2")
            assert told == also_told
            return told

        eventually(agree, AGREE_WITHIN_S, every_s=0.05)
        with cut(cluster, *both_ways("r2", "r1", chosen)):
            eventually(lambda: second.table("r2")["available"] == other, EXPIRED_WITHIN_S, every_s=0.05)
            # Its choice travels even now: the chosen one carries the claim to the other router.
            eventually(lambda: first.table("r1")["available"] == other, AGREE_WITHIN_S, every_s=0.05)
        table = eventually(agree, AGREE_WITHIN_S, every_s=0.05)
        assert sorted(table["states"].values()) == ["AVAILABLE", "STANDBY"]
        hold_for(1.0, lambda: agree()["available"] == table["available"])
        assert_nobody_fell(cluster, before)
