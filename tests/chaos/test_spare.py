"""The spare: one that is of no use is replaced before it is needed; one that was promoted tells its true age."""

import signal
import time
from collections.abc import Iterator

import pytest

from snsnode.guard.times import LAST_RESORT_S as GUARDS_S
from snsnode.node.process import Identity, is_alive, send_signal
from snsnode.node.progress import ProgressReader
from snsnode.supervisord.proxy import Supervisor
from tests.chaos import scene
from tests.chaos.hooks import DEADLOCK, Hooks
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.chaos

OLD_S = 4.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(start=False) as generated:
        Hooks(generated)
        generated.start()
        yield generated


def test_frozen_spare_is_replaced(cluster: Cluster) -> None:
    before = scene.await_rest(cluster)
    frozen = cluster.signal("vm2", "spare", signal.SIGSTOP)
    cluster.await_role("vm2", "spare", scene.BACK_WITHIN_S, other_than=frozen.pid)
    assert not is_alive(frozen)
    assert scene.await_rest(cluster).pid == before.pid


def test_spare_is_replaced_when_the_configuration_changed(cluster: Cluster) -> None:
    before = scene.await_rest(cluster)
    spare = cluster.process("vm2", "spare")
    assert spare is not None
    node = cluster.vm_dir("vm2").path / "node.json"
    fresh = node.with_name("node.json.new")
    fresh.write_text(node.read_text())
    fresh.replace(node)
    cluster.await_role("vm2", "spare", scene.BACK_WITHIN_S, other_than=spare.pid)
    assert not is_alive(spare)
    assert scene.await_rest(cluster).pid == before.pid


def test_deadlocked_spare_that_is_sent_in_is_ended_and_a_cold_master_follows(cluster: Cluster) -> None:
    """Nobody can tell before: it holds its lock, and nothing asks it anything."""
    before = scene.await_rest(cluster)
    deadlocked = cluster.signal("vm2", "spare", DEADLOCK)
    cluster.kill("vm2", "master")
    # Long before a master that never becomes ready would be given up.
    assert cluster.await_role("vm2", "master", 15) != deadlocked.pid
    assert not is_alive(deadlocked)
    assert scene.await_rest(cluster).epoch > before.epoch


@pytest.mark.chaos_long
def test_deadlocked_slave_whose_master_and_spare_die_is_ended_by_supervisord(cluster: Cluster) -> None:
    """Both would have told, a second later: nobody else is left."""
    before = scene.await_rest(cluster)
    slave = cluster.signal("vm2", "slave", DEADLOCK)
    cluster.kill("vm2", "master", "spare")
    eventually(lambda: not is_alive(slave), GUARDS_S + 15)
    assert scene.await_answer(cluster, "vm2", other_than=before).epoch > before.epoch
    assert scene.entries(cluster, "vm2", "slave-down", cause="it does not move", partner_pid=slave.pid)
    assert "did not move and was killed by supervisord" in cluster.ctl("why", "vm2").stdout


@pytest.mark.chaos_long
@pytest.mark.parametrize("spare", [signal.SIGSTOP, DEADLOCK])
def test_partners_that_are_both_deadlocked_beside_a_spare_that_hangs_are_replaced(
    cluster: Cluster, spare: signal.Signals
) -> None:
    """Nobody of the three can act, and none of their process states tells of it but that of a frozen spare."""
    before = scene.await_rest(cluster)
    slave = cluster.signal("vm2", "slave", DEADLOCK)
    master = cluster.signal("vm2", "master", DEADLOCK)
    cluster.signal("vm2", "spare", spare)
    eventually(lambda: not is_alive(slave) and not is_alive(master), 3 * GUARDS_S + 30)
    assert scene.await_rest(cluster).epoch > before.epoch


@pytest.mark.chaos_long
def test_master_and_spare_that_are_deadlocked_as_their_slave_dies_are_replaced(cluster: Cluster) -> None:
    before = scene.await_rest(cluster)
    hung = [cluster.signal("vm2", name, DEADLOCK) for name in ("spare", "master")]
    cluster.kill("vm2", "slave")
    eventually(lambda: not any(is_alive(each) for each in hung), 2 * GUARDS_S + 30)
    assert scene.await_rest(cluster).epoch > before.epoch


def test_slave_shows_that_its_event_loop_turns(cluster: Cluster) -> None:
    """Which supervisord looks at, where nobody else is left to judge it."""
    scene.await_rest(cluster)
    await_moves(cluster.process("vm2", "slave"))
    [dead] = cluster.kill("vm2", "slave")
    cluster.await_role("vm2", "slave", scene.BACK_WITHIN_S, other_than=dead.pid)
    await_moves(cluster.process("vm2", "slave"))
    scene.await_rest(cluster)


def await_moves(partner: Identity | None) -> None:
    """Wait until a partner's counter has moved three times: the first is shown before its loop turns."""
    assert partner is not None
    reader = ProgressReader()
    eventually(lambda: (reader.read(partner) or 0) > 3, 10)


@pytest.mark.parametrize("number", [signal.SIGSTOP, DEADLOCK])
def test_orphan_that_holds_on_to_its_lock_is_ended_by_the_next_slave(
    cluster: Cluster, number: signal.Signals
) -> None:
    """Without supervisord, which would end a frozen one itself."""
    before = scene.await_rest(cluster)
    cluster.kill("vm2", "supervisord")
    slave = cluster.signal("vm2", "slave", signal.SIGSTOP)  # so that it does not replace its spare now
    orphan = cluster.signal("vm2", "spare", number)
    try:
        send_signal(slave, signal.SIGKILL)  # its master may have been quicker
        cluster.await_role("vm2", "slave", scene.BACK_WITHIN_S, other_than=slave.pid)
        cluster.await_role("vm2", "spare", scene.BACK_WITHIN_S, other_than=orphan.pid)
        assert not is_alive(orphan)
    finally:
        send_signal(orphan, signal.SIGKILL)
        assert scene.supervisord_by_hand(cluster, "vm2").returncode == 0
    after = scene.await_rest(cluster)
    assert (after.pid, after.epoch) == (before.pid, before.epoch)


def test_promoted_spare_has_been_up_since_it_serves(cluster: Cluster) -> None:
    scene.await_rest(cluster)
    spare = cluster.process("vm2", "spare")
    assert spare is not None
    time.sleep(max(0.0, OLD_S - spare.uptime_s))
    killed_s = time.monotonic()
    [dead] = cluster.kill("vm2", "master")
    assert cluster.await_role("vm2", "master", other_than=dead.pid) == spare.pid
    assert scene.await_rest(cluster).pid == spare.pid
    server = cluster.status()["servers"][0]
    told_s = Supervisor(cluster.vm_dir("vm2").supervisor_socket).programs()["master"].uptime_s
    since_s = time.monotonic() - killed_s
    assert server["master"]["pid"] == spare.pid
    assert server["master"]["uptime_s"] <= since_s + 0.1  # rounded to tenths
    assert told_s <= since_s + 1  # whole seconds
    assert spare.uptime_s >= OLD_S + since_s - 0.1
