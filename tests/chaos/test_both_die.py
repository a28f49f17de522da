"""Row 4: the pair comes back whoever of it dies at once, and never as two."""

import signal
from collections.abc import Iterator

import pytest

from snsnode.node import budget
from snsnode.node.process import is_alive
from tests.chaos import history, scene
from tests.chaos.outside import watching
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as started:
        yield started


@pytest.fixture(autouse=True)
def never_two(cluster: Cluster) -> Iterator[None]:
    """Watch from outside during each test that one master serves, and each time a newer one."""
    scene.await_rest(cluster)
    with watching(cluster, 0.02) as watcher:
        yield
        scene.await_rest(cluster)
    assert watcher.problems == []
    assert watcher.answers
    assert history.check_answers(watcher.answers) == []


def test_spare_becomes_the_master_when_both_die(cluster: Cluster) -> None:
    before, spare = scene.await_rest(cluster), cluster.pid("vm2", "spare")
    counted = budget.read(cluster.vm_dir("vm2")).totals
    cluster.kill("vm2", "slave", "master")
    after = scene.await_answer(cluster, "vm2", other_than=before)
    assert after.pid == spare
    assert after.epoch > before.epoch
    scene.await_entry(cluster, "vm2", "rescue", pid=spare)
    totals = budget.read(cluster.vm_dir("vm2")).totals
    assert {role: totals[role] - counted.get(role, 0) for role in totals} == {"master": 1, "slave": 1}


def test_supervisord_launches_a_wholly_dead_pair_anew(cluster: Cluster) -> None:
    before = scene.await_rest(cluster)
    cluster.kill("vm2", "slave", "spare", "master")
    after = scene.await_answer(cluster, "vm2", other_than=before)
    assert after.epoch > before.epoch
    scene.await_entry(cluster, "vm2", "first-launch")


def test_spare_rescues_the_pair_where_supervisord_is_dead_too(cluster: Cluster) -> None:
    before, spare = scene.await_rest(cluster), cluster.pid("vm2", "spare")
    cluster.kill("vm2", "supervisord", "slave", "master")
    after = scene.await_answer(cluster, "vm2", other_than=before)
    assert after.pid == spare
    for name in ("slave", "spare"):  # the pair is whole again without any supervisord
        cluster.await_role("vm2", name, scene.BACK_WITHIN_S)
    eventually(lambda: cluster.supervisord("vm2") is None, 8)
    whole = scene.pids(cluster)
    assert scene.supervisord_by_hand(cluster, "vm2").returncode == 0
    scene.await_rest(cluster)  # the new one tells and commands those very processes
    assert scene.pids(cluster) == whole


def test_orphaned_spare_leaves_when_a_new_slave_appears(cluster: Cluster) -> None:
    before = scene.await_rest(cluster)
    orphan = cluster.process("vm2", "spare")
    assert orphan is not None
    [dead] = cluster.kill("vm2", "slave")
    cluster.await_role("vm2", "slave", scene.BACK_WITHIN_S, other_than=dead.pid)
    scene.await_dead(orphan)
    cluster.await_role("vm2", "spare", scene.BACK_WITHIN_S, other_than=orphan.pid)
    assert scene.await_rest(cluster).pid == before.pid


@pytest.mark.parametrize("master_dies", [True, False])
def test_spare_ends_a_hung_slave_whose_master_is_dead_or_hangs_too(cluster: Cluster, master_dies: bool) -> None:
    """Each is the other's only guard; the slave holds the spare's line open, as if all were well."""
    before = scene.await_rest(cluster)
    slave = cluster.signal("vm2", "slave", signal.SIGSTOP)
    master = cluster.signal("vm2", "master", signal.SIGKILL if master_dies else signal.SIGSTOP)
    after = scene.await_answer(cluster, "vm2", other_than=before)
    assert not is_alive(slave)
    assert not is_alive(master)
    assert after.epoch > before.epoch
    assert scene.entries(cluster, "vm2", "slave-down", cause="fell silent", partner_pid=slave.pid)


@pytest.mark.parametrize("guard", ["spare", pytest.param("supervisord", marks=pytest.mark.chaos_long)])
def test_hung_master_whose_slave_is_dead_is_replaced(cluster: Cluster, guard: str) -> None:
    """Nobody is left to judge it until somebody brings a slave: the spare, or where there is none, supervisord."""
    before = scene.await_rest(cluster)
    victim = cluster.signal("vm2", "master", signal.SIGSTOP)
    cluster.kill("vm2", *(["slave"] if guard == "spare" else ["slave", "spare"]))
    after = scene.await_answer(cluster, "vm2", other_than=before)
    assert not is_alive(victim)
    assert after.epoch > before.epoch
    event = "slave-launch" if guard == "spare" else "first-launch"
    assert scene.entries(cluster, "vm2", event, cause="the master launches no slave")
