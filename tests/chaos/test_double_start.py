"""Row 1: nothing runs twice. Row 16: a pid that was recycled is nobody of ours."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from snsnode.node.config import RoleName
from tests.chaos import scene
from tests.chaos.outside import listeners
from tests.cluster import Cluster, running
from tests.processes import Sleeper, sleeper

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as started:
        yield started


@pytest.mark.parametrize(("vm", "role"), [("vm2", "master"), ("vm2", "slave"), ("vm1", "router")])
def test_second_process_of_a_role_names_the_holder_and_leaves(cluster: Cluster, vm: str, role: RoleName) -> None:
    before, holder = scene.await_rest(cluster), cluster.pid(vm, role)
    second = scene.by_hand(cluster, vm, role)
    assert second.returncode == 1
    assert f"second {role} of {vm}: process {holder} holds {role}.lock" in second.stderr
    assert cluster.pid(vm, role) == holder
    after = scene.await_rest(cluster)
    assert (after.pid, after.epoch) == (before.pid, before.epoch)


def test_second_supervisord_leaves_and_disturbs_nothing(cluster: Cluster) -> None:
    before = scene.pids(cluster)
    second = scene.supervisord_by_hand(cluster, "vm2")
    assert second.returncode != 0
    assert "already" in second.stderr
    assert scene.pids(cluster) == before


def test_starts_that_race_make_one_of_each() -> None:
    with running(start=False) as cluster:
        command = [sys.executable, "-m", "snsnode.cli.main", "start", "--spec", str(cluster.spec)]
        starts = [
            subprocess.Popen(
                [*command, "--home", str(cluster.home)],
                env=cluster.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(2)
        ]
        told = [start.communicate(timeout=60)[0] for start in starts]
        assert [start.returncode for start in starts] == [0, 0], told
        found = scene.await_rest(cluster)
        commands = list(cluster.processes().values())
        assert len([c for c in commands if "supervisord" in c]) == 2, commands  # one a VM
        assert len([c for c in commands if "snsnode.slave" in c]) == 1, commands
        assert len([c for c in commands if "snsnode.master" in c and "--spare" not in c]) == 1, commands
        assert listeners(cluster.ports["vm2"]) == {found.pid}


def test_recycled_pids_are_left_alone() -> None:
    """Every pid file names a process of somebody else, as after a reboot or a long outage."""
    with running() as cluster, sleeper() as bait:
        victims = [cluster.supervisord(vm) for vm in cluster.vms]
        for vm, names in (("vm1", ["router"]), ("vm2", ["slave", "spare", "master"])):
            cluster.kill(vm, "supervisord", *names)
        assert all(victim is not None for victim in victims)
        _lay(cluster, bait)
        cluster.ctl("stop")
        assert bait.process.poll() is None, "snsctl stop has signalled a foreign process"
        _lay(cluster, bait)
        cluster.start()
        [dead] = cluster.kill("vm2", "slave")
        cluster.await_role("vm2", "slave", other_than=dead.pid)
        scene.await_rest(cluster)
        cluster.stop()
        assert bait.process.poll() is None
        assert bait.state == "S", "somebody has stopped a foreign process"


def _lay(cluster: Cluster, bait: Sleeper) -> None:
    """Write the pid files of dead processes whose pid the bait has got since."""
    for vm in cluster.vms:
        vm_dir = cluster.vm_dir(vm)
        rest = {"start_ticks": 1, "boot_id": bait.identity.boot_id, "epoch": 1, "config": ""}
        for name in ("router", "slave", "master", "spare"):
            vm_dir.pid(name).write_text(f"{bait.identity.pid}\n{json.dumps(rest)}\n")
        vm_dir.supervisor_pid.write_text(f"{bait.identity.pid}\n")
        long_ago_s = time.time() - 3600
        os.utime(vm_dir.supervisor_pid, (long_ago_s, long_ago_s))
