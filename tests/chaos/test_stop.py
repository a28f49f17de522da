"""Row 15: stop means stop, with any tool, in every state: no process, no lock, no port, and nothing comes back."""

import signal
import time
from collections.abc import Callable

import pytest

from snsnode.node.process import send_signal
from tests.chaos import scene
from tests.chaos.hooks import Hooks
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.chaos

QUIET_S = 1.5  # what would come back has come back by then
TIGHT = "{intensity: 1, period: 5s, backoff_max: 10s}"

Act = Callable[[Cluster, Hooks], None]


# --- states --------------------------------------------------------------------------------------------------


def starting(cluster: Cluster, hooks: Hooks) -> None:
    """The master is being started, and does not become ready."""
    hooks.hang("master")
    cluster.kill("vm2", "spare", "master")
    eventually(lambda: any(" -m snsnode.master vm2" in f" {c} " for c in cluster.processes().values()), 5)


def backing_off(cluster: Cluster, hooks: Hooks) -> None:
    """The master dies at each start, and the next one is far off."""
    hooks.die("master")
    cluster.kill("vm2", "spare", "master")
    scene.await_entry(cluster, "vm2", "degraded")


def hung(cluster: Cluster, hooks: Hooks) -> None:
    """Nobody of the pair acts any more."""
    for name in ("slave", "master", "spare"):
        cluster.signal("vm2", name, signal.SIGSTOP)


def spare_only(cluster: Cluster, hooks: Hooks) -> None:
    """Of the pair only the spare lives; a pause keeps it from becoming the master."""
    cluster.ctl("pause", "vm2")
    cluster.kill("vm2", "slave", "master")


def well(cluster: Cluster, hooks: Hooks) -> None:
    """All is well."""


# --- tools ---------------------------------------------------------------------------------------------------


def snsctl(cluster: Cluster, hooks: Hooks) -> None:
    cluster.ctl("stop")


def supervisorctl(cluster: Cluster, hooks: Hooks) -> None:
    for vm in cluster.vms:
        cluster.supervisorctl(vm, "stop", "all", code=None)


def sigterm(cluster: Cluster, hooks: Hooks) -> None:
    for vm in cluster.vms:
        _signal_supervisord(cluster, vm, signal.SIGTERM)


def without_supervisord(cluster: Cluster, hooks: Hooks) -> None:
    cluster.kill("vm2", "supervisord")
    cluster.ctl("stop")


def with_frozen_supervisord(cluster: Cluster, hooks: Hooks) -> None:
    _signal_supervisord(cluster, "vm2", signal.SIGSTOP)
    cluster.ctl("stop")


OFTEN = [  # each state and each tool once, and what once failed; the others take minutes
    (starting, snsctl),
    (starting, supervisorctl),
    (hung, supervisorctl),
    (backing_off, supervisorctl),
    (hung, sigterm),
    (spare_only, without_supervisord),
    (well, with_frozen_supervisord),
]
EVERY = [
    pytest.param(state, tool, id=f"{state.__name__}-{tool.__name__}", marks=pytest.mark.chaos_long)
    for state in (starting, backing_off, hung, spare_only, well)
    for tool in (snsctl, supervisorctl, sigterm, without_supervisord, with_frozen_supervisord)
    if (state, tool) not in OFTEN
]


@pytest.mark.parametrize(
    ("state", "tool"), [*(pytest.param(s, t, id=f"{s.__name__}-{t.__name__}") for s, t in OFTEN), *EVERY]
)
def test_stop_means_stop(state: Act, tool: Act) -> None:
    with running(restart=TIGHT, start=False) as cluster:
        hooks = Hooks(cluster)
        cluster.start()
        scene.await_rest(cluster)
        state(cluster, hooks)
        tool(cluster, hooks)
        eventually(lambda: not _roles(cluster), 25)
        time.sleep(QUIET_S)
        scene.assert_all_ended(cluster, supervisord=tool is supervisorctl)


def _roles(cluster: Cluster) -> list[str]:
    return [command for command in cluster.processes().values() if "snsnode." in command]


def test_stop_survives_a_restart_of_supervisord() -> None:
    with running() as cluster:
        scene.await_rest(cluster)
        cluster.ctl("stop", "master")
        cluster.kill("vm2", "supervisord")
        assert scene.supervisord_by_hand(cluster, "vm2").returncode == 0
        time.sleep(QUIET_S)
        assert cluster.process("vm2", "master") is None
        assert cluster.process("vm2", "slave") is not None
        cluster.ctl("stop", "slave")
        cluster.kill("vm2", "supervisord")
        assert scene.supervisord_by_hand(cluster, "vm2").returncode == 0
        time.sleep(QUIET_S)
        assert not [command for command in _roles(cluster) if "vm2" in command]
        cluster.ctl("start")
        scene.await_rest(cluster)


@pytest.mark.chaos_long
def test_a_supervisord_that_was_told_to_end_leaves_no_intent() -> None:
    with running() as cluster:
        scene.await_rest(cluster)
        for vm in cluster.vms:
            cluster.supervisorctl(vm, "shutdown")
        eventually(lambda: not cluster.processes(), 25)
        for vm in cluster.vms:
            assert scene.supervisord_by_hand(cluster, vm).returncode == 0
        scene.await_rest(cluster)


def _signal_supervisord(cluster: Cluster, vm: str, number: signal.Signals) -> None:
    found = cluster.supervisord(vm)
    assert found is not None
    assert send_signal(found, number)
