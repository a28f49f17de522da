"""Row 17: a wall clock that jumps kills nobody, and hinders no recovery."""

import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from snsnode.observe.journal import read
from tests.chaos import scene
from tests.chaos.hooks import Hooks
from tests.chaos.workload import calling
from tests.cluster import Cluster, running

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("for_s", [8.0, pytest.param(30.0, marks=pytest.mark.chaos_long)])
def test_clock_that_jumps_by_a_day_restarts_nobody_and_hinders_no_recovery(for_s: float) -> None:
    """The partners' own clock, through Python: CLOCK_REALTIME has no namespace, and this machine is shared."""
    with running(start=False) as cluster:
        Hooks(cluster).jump_clock()
        cluster.start()
        scene.await_rest(cluster)
        partners = {role: cluster.pid("vm2", role) for role in scene.PARTNERS}

        def act() -> None:
            time.sleep(for_s)
            assert {role: cluster.pid("vm2", role) for role in scene.PARTNERS} == partners, cluster.tails()
            assert not scene.entries(cluster, "vm2", "master-down")
            assert not scene.entries(cluster, "vm2", "slave-down")
            assert_jumped(cluster)
            recover(cluster)

        calling(cluster, act)


def assert_jumped(cluster: Cluster) -> None:
    """Fail where the partners' clock was right at any time."""
    now = datetime.now(UTC)
    off = [datetime.fromisoformat(entry.at) - now for entry in read(cluster.vm_dir("vm2").journal)]
    assert all(abs(abs(by) - timedelta(days=1)) < timedelta(hours=1) for by in off), off


def recover(cluster: Cluster) -> None:
    """Kill and freeze each partner, and kill both, and wait each time until the pair is whole."""
    for number, names in (
        (signal.SIGKILL, ("master",)),
        (signal.SIGKILL, ("slave",)),
        (signal.SIGSTOP, ("master",)),
        (signal.SIGSTOP, ("slave",)),
        (signal.SIGKILL, ("slave", "master")),
    ):
        victims = [cluster.signal("vm2", name, number) for name in names]
        for victim, name in zip(victims, names, strict=True):
            scene.await_dead(victim)
            cluster.await_role("vm2", name, scene.BACK_WITHIN_S, other_than=victim.pid)
        scene.await_rest(cluster)
