"""Another machine of the network says what a VM of the spec would say: who calls decides what counts."""

import pytest

from snsnode.router.table import EPOCH_LEAP
from tests.network.agent import Agent
from tests.network.cluster import CLIENT_VMS, NetworkCluster
from tests.network.scene import await_settled, other_than, whole

pytestmark = pytest.mark.chaos


def test_another_machine_changes_nothing_and_a_server_s_own_machine_is_heard(cluster: NetworkCluster) -> None:
    with Agent(cluster, CLIENT_VMS[0]) as stranger:
        chosen = await_settled(stranger)
        other = other_than(cluster, chosen)
        before, processes = stranger.table("r1"), whole(cluster)
        epochs = before["epochs"]
        for vm in (chosen, other):
            for epoch in (epochs[vm], epochs[vm] + 1, epochs[vm] + EPOCH_LEAP + 1):
                assert stranger.crash("r1", vm, epoch)["error"].startswith("Denied: ")
                if epoch != epochs[vm]:
                    assert stranger.register("r1", vm, epoch)["error"].startswith("Denied: ")
            # The router asks the server itself, and takes what that one says.
            assert stranger.register("r1", vm, epochs[vm], claim=900, leaving=vm == chosen)["accepted"]
            assert stranger.exchange("r1", "r1", vm, epochs[vm])["error"].startswith("Denied: ")
        assert stranger.table("r1") == before
        assert "took_s" in stranger.visit("newcomer")
        assert whole(cluster) == processes
    with Agent(cluster, chosen) as inside:
        assert inside.crash("r1", chosen, epochs[chosen])["accepted"]
        assert inside.table("r1")["available"] == other
    with Agent(cluster, "r1") as agent:
        await_settled(agent)  # the master, declared dead, has risen above that epoch
