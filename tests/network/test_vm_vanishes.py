"""Row 12: a whole VM vanishes, and no client says so; or it is a client that vanishes."""

import time

import pytest

from tests.chaos import scene as processes
from tests.eventually import eventually
from tests.network.agent import Agent
from tests.network.callers import Callers
from tests.network.cluster import NetworkCluster
from tests.network.scene import (
    EXPIRED_WITHIN_S,
    SETTLED_WITHIN_S,
    await_settled,
    other_than,
    vanished,
    whole,
)

pytestmark = pytest.mark.chaos


FREE_WITHIN_S = 15.0  # pings: 2 s between two, 2 s for an answer; the login's lease 4 s, renewed each second


def test_leases_alone_move_the_choice_where_no_client_tells(cluster: NetworkCluster) -> None:
    """A router must not need a client's pain to learn of a loss."""
    with Agent(cluster, "r1") as agent:
        lost = await_settled(agent)
        other = other_than(cluster, lost)
        before = whole(cluster)
        with vanished(cluster, lost):
            eventually(lambda: agent.table("r1")["available"] == other, EXPIRED_WITHIN_S, every_s=0.05)
            assert agent.table("r1")["states"] == {lost: "SUSPECT", other: "AVAILABLE"}
        assert await_settled(agent) == other  # it is back, and nobody is moved for that
        assert whole(cluster) == before


def test_master_that_crashed_while_its_vm_was_away_is_known_anew_and_its_old_crash_changes_nothing(
    cluster: NetworkCluster,
) -> None:
    """The report comes late, when its subject was replaced long ago (row 6)."""
    with Agent(cluster, "r1") as agent:
        lost = await_settled(agent)
        old = agent.table("r1")["epochs"][lost]
        with vanished(cluster, lost), Agent(cluster, lost) as inside:
            [dead] = cluster.kill(lost, "master")
            cluster.await_role(lost, "master", SETTLED_WITHIN_S, other_than=dead.pid)
            eventually(lambda: agent.table("r1")["available"] != lost, EXPIRED_WITHIN_S, every_s=0.05)
            processes.await_entry(cluster, lost, "serving", epoch=old + 1)
            assert "error" in inside.table("r1")  # nothing of it came out
        eventually(lambda: agent.table("r1")["epochs"][lost] > old, SETTLED_WITHIN_S, every_s=0.05)
        assert await_settled(agent) != lost
        before = agent.table("r1")
        with Agent(cluster, lost) as inside:
            said = inside.crash("r1", lost, old)
        assert not said["accepted"], said
        assert agent.table("r1") == before


@pytest.mark.both_networks
def test_name_of_a_client_that_vanished_without_a_word_is_free_within_seconds(cluster: NetworkCluster) -> None:
    """Half open, the other side: the server's pings end the stream, and the lease of the login does the rest."""
    with Agent(cluster, "c2") as agent, Callers(cluster, "c1", posters=1, every_s=3600) as callers:
        callers.server()
        name = callers.calls[0].text.split("-")[1]
        with vanished(cluster, "c1") as at_s:
            refused = agent.visit(name)
            assert "AlreadyDone" in refused.get("error", ""), refused
            eventually(lambda: "took_s" in agent.visit(name), FREE_WITHIN_S, every_s=0.1)
            assert time.monotonic() - at_s > 1.0  # whom a ping could still reach is not thrown out
        callers.finish()
