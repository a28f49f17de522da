"""Row 5: what cannot start is tried ever more slowly, and comes back by itself. Row 18: a start that hangs."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import pytest

from snsnode.node import epoch
from snsnode.supervisord.proxy import Supervisor
from tests.chaos import scene
from tests.chaos.hooks import Hooks
from tests.chaos.outside import listeners
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.chaos

TIGHT = "{intensity: 2, period: 3s, backoff_max: 0.5s}"
BACKOFF_MIN_MS, BACKOFF_MAX_MS = 500 * 0.8, 500 * 1.2  # the longest delay, with its jitter


@contextmanager
def hooked(start_deadline_s: float | None = None) -> Iterator[tuple[Cluster, Hooks]]:
    """Run a pair with a small budget and no spare, so that every start is a cold one."""
    with running(spare=False, restart=TIGHT, start=False) as cluster:
        hooks = Hooks(cluster)
        if start_deadline_s is not None:
            hooks.shorten_start_deadline(start_deadline_s)
        cluster.start()
        scene.await_rest(cluster)
        yield cluster, hooks


def await_slow(cluster: Cluster, partner: str) -> list[float]:
    """Wait until ``partner`` is tried at the longest delay; return all delays so far in milliseconds."""

    def delays() -> list[float]:
        found = [e.fields["wait_ms"] for e in scene.entries(cluster, "vm2", "degraded", partner=partner)]
        assert found
        assert found[-1] >= BACKOFF_MIN_MS, found
        return found

    return eventually(delays, scene.BACK_WITHIN_S)


def test_taken_port_is_tried_slower_and_slower_and_served_once_it_is_free() -> None:
    with hooked() as (cluster, _):
        before = scene.await_rest(cluster)
        cluster.ctl("stop", "master")
        with socket.create_server(("127.0.0.1", cluster.ports["vm2"])):
            slave = cluster.pid("vm2", "slave")
            # Without waiting for it: supervisorctl would wait until it is sure that nobody comes.
            Supervisor(cluster.vm_dir("vm2").supervisor_socket).call("startProcess", "master", False)
            delays = await_slow(cluster, "master")
            assert delays[0] < 200 < delays[-1] <= BACKOFF_MAX_MS
            tries = len(scene.entries(cluster, "vm2", "master-down"))
            time.sleep(2)
            assert len(scene.entries(cluster, "vm2", "master-down")) - tries <= 5  # 0.4 s and a start for each
            assert cluster.pid("vm2", "slave") == slave
            assert listeners(cluster.ports["vm2"]) != set()
            assert epoch.read(cluster.vm_dir("vm2")) == before.epoch, "a start on a taken port spent an epoch"
        assert scene.await_rest(cluster).epoch == before.epoch + 1


def test_bad_configuration_is_tried_slowly_at_once_and_recovers_when_mended() -> None:
    with hooked() as (cluster, _):
        before = scene.await_rest(cluster)
        config = cluster.vm_dir("vm2").path / "node.json"
        good = config.read_text()
        config.write_text(good[: len(good) // 2])
        cluster.kill("vm2", "master")
        first = scene.await_entry(cluster, "vm2", "degraded", partner="master")
        assert first.fields["wait_ms"] >= BACKOFF_MIN_MS
        down = scene.await_entry(cluster, "vm2", "master-down", exit_code=78)
        assert down.fields["cause"] == "died"
        config.write_text(good)
        assert scene.await_rest(cluster).epoch > before.epoch


def test_slave_that_cannot_start_leaves_its_master_serving() -> None:
    with hooked() as (cluster, hooks):
        before = scene.await_rest(cluster)
        hooks.die("slave")
        cluster.kill("vm2", "slave")
        await_slow(cluster, "slave")
        assert scene.await_answer(cluster, "vm2").pid == before.pid
        hooks.mend("slave")
        after = scene.await_rest(cluster)
        assert (after.pid, after.epoch) == (before.pid, before.epoch)


@pytest.mark.parametrize("role", ["master", pytest.param("slave", marks=pytest.mark.chaos_long)])
def test_start_that_never_becomes_ready_is_ended_and_tried_again(role: str) -> None:
    # On a machine with ten times as much to do as it can, a cold start takes three seconds.
    with hooked(start_deadline_s=5.0) as (cluster, hooks):
        hooks.hang(role)
        cluster.kill("vm2", role)
        never_ready = {"event": f"{role}-down", "cause": "did not become ready in time"}
        eventually(lambda: len(scene.entries(cluster, "vm2", **never_ready)) >= 2, scene.BACK_WITHIN_S)
        hooks.mend(role)
        scene.await_rest(cluster)


def test_master_waits_out_a_frozen_writer_of_the_store() -> None:
    with running() as cluster:
        before = scene.await_rest(cluster)
        writer = apsw.Connection(str(cluster.home / "sns.db"))
        try:
            writer.execute("BEGIN IMMEDIATE")
            cluster.kill("vm2", "master")
            cluster.await_role("vm2", "master", other_than=before.pid)
            time.sleep(5.5)  # longer than one attempt to get the lock
            writer.execute("ROLLBACK")
        finally:
            writer.close()
        after = scene.await_rest(cluster)
        assert after.epoch > before.epoch
        assert len(scene.entries(cluster, "vm2", "master-down")) == 1  # it waited, and was not restarted for it
