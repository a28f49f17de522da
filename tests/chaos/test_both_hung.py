"""Row 2, both at once: a pair that stands still, and whom no spare judges, is judged by supervisord."""

import signal
from collections.abc import Iterator

import pytest

from snsnode.node.process import Identity, is_alive, send_signal, state_of
from tests.chaos import history, scene
from tests.chaos.outside import watching
from tests.chaos.test_hung import traced
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.chaos

QUIET_S = 6.0  # six times the silence


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def spareless() -> Iterator[Cluster]:
    with running(spare=False) as started:
        yield started


def freeze(cluster: Cluster, *names: str) -> list[Identity]:
    """Freeze the processes as one: none has seen the other twice in state T before it is so itself."""
    return [cluster.signal("vm2", name, signal.SIGSTOP) for name in names]


@pytest.mark.parametrize("spare", ["none", "killed", pytest.param("frozen", marks=pytest.mark.chaos_long)])
def test_frozen_pair_without_a_spare_comes_back(request: pytest.FixtureRequest, spare: str) -> None:
    """The plug-in ends the slave, and the new one judges the master. A frozen spare is waited for, 12 s."""
    cluster: Cluster = request.getfixturevalue("spareless" if spare == "none" else "cluster")
    before = scene.await_rest(cluster)
    with watching(cluster, 0.05) as watcher:
        slave, master = freeze(cluster, "slave", "master")
        if spare == "killed":
            cluster.kill("vm2", "spare")
        elif spare == "frozen":
            freeze(cluster, "spare")
        after = scene.await_answer(cluster, "vm2", other_than=before)
        assert not is_alive(slave)
        assert not is_alive(master)
        scene.await_rest(cluster)
    assert after.epoch > before.epoch
    assert watcher.problems == []
    assert history.check_answers([before, *watcher.answers]) == []
    scene.await_entry(cluster, "vm2", "slave-down", cause="stopped (state T)", partner_pid=slave.pid)
    scene.await_entry(cluster, "vm2", "master-down", cause="stopped (state T)", partner_pid=master.pid)


def test_slave_frozen_as_its_master_died_is_replaced(spareless: Cluster) -> None:
    before = scene.await_rest(spareless)
    [slave] = freeze(spareless, "slave")
    spareless.kill("vm2", "master")
    after = scene.await_answer(spareless, "vm2", other_than=before)
    assert not is_alive(slave)
    assert after.epoch > before.epoch
    scene.await_rest(spareless)


def test_frozen_pair_that_is_paused_is_left_alone(spareless: Cluster) -> None:
    before = scene.await_rest(spareless)
    whole = scene.pids(spareless)
    spareless.ctl("pause", "vm2")
    frozen = freeze(spareless, "slave", "master")
    try:
        scene.assert_undisturbed(spareless, whole, QUIET_S)
    finally:
        for identity in reversed(frozen):
            send_signal(identity, signal.SIGCONT)
        spareless.ctl("resume", "vm2")
    assert scene.await_rest(spareless) and scene.pids(spareless) == whole
    assert scene.await_rest(spareless).epoch == before.epoch


def test_pair_in_a_debugger_is_left_alone(spareless: Cluster) -> None:
    scene.await_rest(spareless)
    whole = scene.pids(spareless)
    slave, master = whole["slave"], whole["master"]
    assert slave is not None and master is not None
    with traced(slave.pid), traced(master.pid):
        eventually(lambda: state_of(slave) == state_of(master) == "t", 5)
        scene.assert_undisturbed(spareless, whole, QUIET_S)
    scene.await_rest(spareless)
    assert scene.pids(spareless) == whole
