"""Two servers and two routers under calling clients: all roles restarted one by one, routers killed and frozen."""

import signal
import time
from collections.abc import Iterator

import pytest

from snsnode.node.config import RoleName
from snsnode.node.process import send_signal
from tests.chaos import scene
from tests.chaos.workload import calling
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.chaos

# Protective: a call takes milliseconds, one that had to wait out a dead router's or server's deadline seconds.
PROMPT_S = 5.0
MEANWHILE_S = 2.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running(servers=2, routers=2) as started:
        for vm in started.server_vms:
            scene.await_rest(started, vm)
        started.await_available()
        yield started


def restart_each(cluster: Cluster) -> None:
    """Restart every role of every VM, one after the other, as an operator does for an update."""
    roles: list[tuple[str, RoleName]] = [(vm, role) for vm in cluster.server_vms for role in ("master", "slave")]
    roles += [(vm, "router") for vm in cluster.router_vms]
    for vm, role in roles:
        before = cluster.pid(vm, role)
        cluster.ctl("restart", role, "--vm", vm)
        cluster.await_role(vm, role, scene.BACK_WITHIN_S, other_than=before)


def test_every_role_restarted_under_load_fails_no_call(cluster: Cluster) -> None:
    work = calling(cluster, lambda: restart_each(cluster))
    assert work.slowest_s < PROMPT_S
    moved = [entry for vm in cluster.server_vms for entry in scene.entries(cluster, vm, "moved")]
    # Whoever was at a master that was restarted had moved before it ended; but for some, on a starved machine.
    clients, left = (sum(entry.fields[name] for entry in moved) for name in ("clients", "left"))
    assert clients and left <= clients / 4, moved


def test_one_router_of_two_is_missed_by_nobody(cluster: Cluster) -> None:
    whole = {name: scene.pids(cluster, name) for name in cluster.server_vms}

    def act() -> None:
        for vm in cluster.router_vms:
            for number in (signal.SIGKILL, signal.SIGSTOP):
                victim = cluster.signal(vm, "router", number)
                time.sleep(MEANWHILE_S)
                if number == signal.SIGSTOP:
                    send_signal(victim, signal.SIGCONT)
                else:
                    cluster.await_role(vm, "router", scene.BACK_WITHIN_S, other_than=victim.pid)

    work = calling(cluster, act)
    assert work.slowest_s < PROMPT_S
    assert {name: scene.pids(cluster, name) for name in cluster.server_vms} == whole
    eventually(lambda: cluster.status()["routers_agree"], scene.BACK_WITHIN_S, every_s=0.2)


def test_a_master_killed_beside_a_frozen_router_is_left_at_once(cluster: Cluster) -> None:
    def act() -> None:
        available = cluster.await_available()
        frozen = cluster.signal(cluster.router_vms[0], "router", signal.SIGSTOP)
        try:
            cluster.kill(available, "master")
            time.sleep(MEANWHILE_S)
        finally:
            send_signal(frozen, signal.SIGCONT)

    work = calling(cluster, act)
    assert work.slowest_s < PROMPT_S
    eventually(lambda: cluster.status()["routers_agree"], scene.BACK_WITHIN_S, every_s=0.2)
