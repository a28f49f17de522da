"""Row 3: a busy machine is no reason to kill anybody. And planned restarts, under calling clients."""

import time
from collections.abc import Callable

import pytest

from tests.chaos import scene
from tests.chaos.workload import calling
from tests.cluster import Cluster, running

pytestmark = pytest.mark.chaos

AS_SHIPPED = "{interval: 3s, timeout: 1s, silence: 9s}"
SETTLED_S = 1.0  # clients call undisturbed before and after


def assert_no_kill_under_load(for_s: float) -> None:
    with running(servers=2, keepalive=AS_SHIPPED) as cluster:
        before = {vm: scene.pids(cluster, vm) for vm in cluster.server_vms}

        def burn() -> None:
            with scene.burning():
                time.sleep(for_s)

        calling(cluster, burn)
        assert {vm: scene.pids(cluster, vm) for vm in cluster.server_vms} == before
        for vm in cluster.server_vms:
            assert not scene.entries(cluster, vm, "master-down")
            assert not scene.entries(cluster, vm, "slave-down")


def test_busy_cores_get_nobody_killed() -> None:
    assert_no_kill_under_load(for_s=8)


@pytest.mark.chaos_long
def test_ten_busy_minutes_get_nobody_killed() -> None:
    assert_no_kill_under_load(for_s=600)


def by_snsctl(role: str) -> Callable[[Cluster], object]:
    return lambda cluster: cluster.ctl("restart", role)


def by_supervisorctl(role: str) -> Callable[[Cluster], object]:
    def act(cluster: Cluster) -> None:
        for vm in cluster.server_vms:
            done = cluster.supervisorctl(vm, "restart", role)
            assert f"{role}: started" in done.stdout

    return act


def test_planned_restarts_fail_no_call_and_lose_no_post() -> None:
    with running(servers=2) as cluster:

        def act() -> None:
            for restart, role in (
                (by_snsctl("master"), "master"),
                (by_snsctl("slave"), "slave"),
                (by_supervisorctl("master"), "master"),
            ):
                time.sleep(SETTLED_S)
                before = {vm: scene.pids(cluster, vm) for vm in cluster.server_vms}
                restart(cluster)
                for vm in cluster.server_vms:
                    scene.await_rest(cluster, vm)
                    changed = {name for name, who in scene.pids(cluster, vm).items() if who != before[vm][name]}
                    assert role in changed
                    assert ("slave" if role == "master" else "master") not in changed
            time.sleep(SETTLED_S)

        calling(cluster, act)


def test_planned_restart_of_the_only_master_fails_no_call() -> None:
    with running() as cluster:

        def act() -> None:
            time.sleep(SETTLED_S)
            cluster.ctl("restart", "master")
            time.sleep(SETTLED_S)

        calling(cluster, act)
