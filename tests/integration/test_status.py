"""``snsctl status``: the whole cluster, in time, whoever is frozen; ``--vm`` narrows only what is shown."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snsnode.base.ids import VmName
from snsnode.control import status
from snsnode.control.status import Question, look
from snsnode.node import budget
from snsnode.node.config import Endpoint, Restart
from snsnode.node.process import send_signal
from tests.cluster import Cluster, running
from tests.ports import free_port


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(servers=2, spare=False) as started:
        started.await_available()
        yield started


def test_one_vm_is_shown_and_the_cluster_is_asked(cluster: Cluster) -> None:
    available = cluster.await_available()
    [other] = set(cluster.server_vms) - {available}
    found = json.loads(cluster.ctl("status", "--json", "--vm", other).stdout)
    assert [server["vm"] for server in found["servers"]] == [other]
    assert (found["available"], found["routers"]) == (available, [])


def test_a_degraded_pair_is_told_until_it_is_quiet(cluster: Cluster) -> None:
    ledger = cluster.vm_dir("vm2")
    hasty = Restart(intensity=5, period_s=10.0, backoff_max_s=0.1)
    budget.withdraw(ledger, hasty, "slave", 0.5, hopeless=True)
    found = cluster.status_json()
    assert [server["degraded"] for server in found["servers"]] == [True, False]
    assert any("see 'snsctl why vm2'" in note for note in found["notes"])
    text = cluster.ctl("status").stdout
    assert "vm2 is degraded" in text
    quiet = json.loads((ledger.state / "restarts.json").read_text())
    quiet["recent_s"] = [at_s - 11 for at_s in quiet["recent_s"]]
    (ledger.state / "restarts.json").write_text(json.dumps(quiet))
    assert not cluster.status_json()["servers"][0]["degraded"]


def test_the_frozen_delay_nobody(cluster: Cluster) -> None:
    frozen = [cluster.supervisord(vm) for vm in cluster.vms] + [cluster.process("vm1", "router")]
    try:
        for identity in frozen:
            assert identity is not None
            assert send_signal(identity, signal.SIGSTOP)
        since_s = time.monotonic()
        found = cluster.status_json()
        took_s = time.monotonic() - since_s
    finally:
        for identity in frozen:
            if identity is not None:
                send_signal(identity, signal.SIGCONT)
    assert took_s < 8  # 1.5 s where a core is free
    assert [f"supervisord of {vm} does not answer" in found["notes"] for vm in cluster.vms] == [True] * 3


def test_slow_names_are_looked_up_at_once_and_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "is_local", lambda _: time.sleep(8))
    servers = tuple(Endpoint(VmName(f"vm{n}"), "localhost", free_port()) for n in range(2, 12))
    since_s = time.monotonic()
    found = look(Question("local", (), servers, tmp_path), 0.5)
    assert time.monotonic() - since_s < 6
    assert len(found.servers) == len(servers)
    assert any("could not be looked up in time: vm2, " in note for note in found.notes)
