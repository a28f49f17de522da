"""What the chaos tests ask of a cluster again and again: its journal, its outcome, its processes as one."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snsnode.node.config import RoleName
from snsnode.node.process import Identity, is_alive
from snsnode.observe.journal import Entry, read
from tests.chaos.outside import Answer, answer, held_locks, listeners
from tests.cluster import Cluster
from tests.eventually import eventually

BACK_WITHIN_S = 30.0
PARTNERS: tuple[str, ...] = ("slave", "master")


def entries(cluster: Cluster, vm: str, event: str, **fields: Any) -> list[Entry]:
    """Return the journal's entries of ``event`` with these fields, oldest first."""
    found = [entry for entry in read(cluster.vm_dir(vm).journal) if entry.event == event]
    return [entry for entry in found if all(entry.fields.get(key) == value for key, value in fields.items())]


def await_entry(cluster: Cluster, vm: str, event: str, within_s: float = BACK_WITHIN_S, **fields: Any) -> Entry:
    """Wait for such an entry and return the first."""
    return eventually(lambda: entries(cluster, vm, event, **fields), within_s, every_s=0.05)[0]


def await_answer(cluster: Cluster, vm: str, *, other_than: Answer | None = None) -> Answer:
    """Wait until a master (other than that one) answers and alone holds the port; return its answer."""

    def found() -> Answer:
        now = answer(cluster, vm)
        assert now is not None
        assert other_than is None or now.pid != other_than.pid
        assert listeners(cluster.ports[vm]) == {now.pid}
        return now

    return eventually(found, BACK_WITHIN_S)


def await_rest(cluster: Cluster, vm: str = "vm2") -> Answer:
    """Wait until the pair of ``vm`` is whole, and stock supervisorctl names its processes; return the answer."""
    names = (*PARTNERS, "spare") if cluster.spare else PARTNERS
    for name in names:
        cluster.await_role(vm, name, BACK_WITHIN_S)
    found = await_answer(cluster, vm)

    def told() -> bool:
        lines = [line.split() for line in cluster.supervisorctl(vm, "status", code=None).stdout.splitlines()]
        running = {line[0]: line[3] for line in lines if line[1:3] == ["RUNNING", "pid"]}
        return running == {role: f"{cluster.pid(vm, role)}," for role in PARTNERS}

    eventually(told, BACK_WITHIN_S, every_s=0.2)
    return found


def pids(cluster: Cluster, vm: str = "vm2") -> dict[str, Identity | None]:
    """Return who the partners and the spare of ``vm`` are now."""
    return {name: cluster.process(vm, name) for name in (*PARTNERS, "spare")}


def assert_undisturbed(
    cluster: Cluster, before: dict[str, Identity | None], for_s: float, vm: str = "vm2"
) -> None:
    """Fail where a process of the pair changes within ``for_s``."""
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        assert pids(cluster, vm) == before, cluster.tails()
        time.sleep(0.05)


def assert_all_ended(cluster: Cluster, *, supervisord: bool = False) -> None:
    """Fail where a process, a held lock or a bound port of the cluster is left; ``supervisord`` may live."""

    def ended() -> bool:
        left = [
            command for command in cluster.processes().values() if not supervisord or "supervisord" not in command
        ]
        assert not left, f"{left}{cluster.tails()}"
        assert not held_locks(cluster)
        assert not cluster.bound_ports()
        return True

    eventually(ended, 5)


def by_hand(cluster: Cluster, vm: str, role: RoleName) -> "subprocess.CompletedProcess[str]":
    """Run a role as somebody might by mistake, and wait for its end."""
    return subprocess.run(
        [sys.executable, "-P", "-m", f"snsnode.{role}", vm],
        cwd=cluster.vm_dir(vm).path,
        env=cluster.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def supervisord_by_hand(cluster: Cluster, vm: str) -> "subprocess.CompletedProcess[str]":
    """Start supervisord as a machine's init would."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(cluster.conf(vm))],
        cwd=cluster.folder,
        env=cluster.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def await_dead(victim: Identity, within_s: float = BACK_WITHIN_S) -> None:
    """Wait until the process is dead."""
    eventually(lambda: not is_alive(victim), within_s)


@contextmanager
def burning() -> Iterator[None]:
    """Keep every core busy, and one process more than there are cores."""
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range((os.cpu_count() or 1) + 1)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
