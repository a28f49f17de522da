"""Row 2: who hangs is killed before it is replaced, and never serves again; who is debugged is left alone."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from snsnode.node.process import is_alive, send_signal, state_of
from tests.chaos import history, scene
from tests.chaos.hooks import DEADLOCK, WEDGE, Hooks
from tests.chaos.outside import watching
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.chaos

# Seizes every thread of a process as a debugger does, until its standard input ends.
_DEBUGGER = """
import ctypes, os, sys
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid = int(sys.argv[1])
for thread in map(int, os.listdir(f"/proc/{pid}/task")):
    if libc.ptrace(SEIZE, thread, None, None):
        print("not permitted", flush=True)
        sys.exit()
    libc.ptrace(INTERRUPT, thread, None, None)
    os.waitpid(thread, WALL)
print("traced", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(start=False) as generated:
        Hooks(generated)
        generated.start()
        yield generated


@contextmanager
def traced(pid: int) -> Iterator[None]:
    debugger = subprocess.Popen(
        [sys.executable, "-c", _DEBUGGER, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert debugger.stdout is not None
        if debugger.stdout.readline() != "traced\n":
            pytest.skip("ptrace is not permitted here")
        yield
    finally:
        debugger.communicate(timeout=10)  # when the debugger ends, the kernel lets its processes go on


def test_stopped_master_is_dead_before_its_successor_serves(cluster: Cluster) -> None:
    before = scene.await_rest(cluster)
    with watching(cluster, 0.02) as watcher:
        victim = cluster.signal("vm2", "master", signal.SIGSTOP)
        after = scene.await_answer(cluster, "vm2", other_than=before)
        assert not is_alive(victim)
        assert not send_signal(victim, signal.SIGCONT)
        scene.await_rest(cluster)
    assert after.epoch > before.epoch
    assert watcher.problems == []
    assert history.check_answers([before, *watcher.answers]) == []
    scene.await_entry(cluster, "vm2", "master-down", cause="stopped (state T)", partner_pid=victim.pid)


@pytest.mark.parametrize(
    ("number", "causes"),
    [
        pytest.param(DEADLOCK, ["hung: no KeepAlive and no progress"], id="deadlocked"),
        pytest.param(WEDGE, ["answers KeepAlive but serves nobody"], id="event loop blocked"),
    ],
)
def test_master_that_hangs_is_replaced(cluster: Cluster, number: signal.Signals, causes: list[str]) -> None:
    before = scene.await_rest(cluster)
    victim = cluster.signal("vm2", "master", number)
    after = scene.await_answer(cluster, "vm2", other_than=before)
    assert not is_alive(victim)
    assert after.epoch > before.epoch
    down = scene.await_entry(cluster, "vm2", "master-down", partner_pid=victim.pid)
    assert down.fields["cause"] in causes
    scene.await_rest(cluster)


@pytest.mark.parametrize("number", [signal.SIGSTOP, DEADLOCK, pytest.param(WEDGE, marks=pytest.mark.chaos_long)])
def test_slave_that_hangs_is_replaced_and_its_master_is_not(cluster: Cluster, number: signal.Signals) -> None:
    before = scene.await_rest(cluster)
    victim = cluster.signal("vm2", "slave", number)
    cluster.await_role("vm2", "slave", scene.BACK_WITHIN_S, other_than=victim.pid)
    assert not is_alive(victim)
    after = scene.await_rest(cluster)
    assert (after.pid, after.epoch) == (before.pid, before.epoch)


@pytest.mark.parametrize("role", ["master", pytest.param("slave", marks=pytest.mark.chaos_long)])
def test_process_in_a_debugger_is_left_alone(cluster: Cluster, role: str) -> None:
    before = scene.await_rest(cluster)
    victim = cluster.process("vm2", role)
    assert victim is not None
    whole = scene.pids(cluster)
    with traced(victim.pid):
        eventually(lambda: state_of(victim) == "t", 5)
        scene.assert_undisturbed(cluster, whole, for_s=4)  # the silence is 1 s
    after = scene.await_rest(cluster)
    assert (after.pid, after.epoch) == (before.pid, before.epoch)
    assert scene.pids(cluster) == whole


def test_pair_that_was_frozen_as_one_shoots_nobody(cluster: Cluster) -> None:
    """As when a whole VM is suspended: each finds the other silent, and itself late."""
    scene.await_rest(cluster)
    whole = scene.pids(cluster)
    frozen = [cluster.signal("vm2", name, signal.SIGSTOP) for name in ("slave", "master", "spare")]
    try:
        scene.assert_undisturbed(cluster, whole, for_s=5)
    finally:
        for identity in reversed(frozen):
            send_signal(identity, signal.SIGCONT)
    scene.assert_undisturbed(cluster, whole, for_s=2)
