"""``snsctl status``: the whole cluster, in time, whoever is frozen; ``--vm`` narrows only what is shown."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snsnode import __version__
from snsnode.base.ids import VmName
from snsnode.control import doctor_home, status
from snsnode.control.status import Question, look
from snsnode.node import budget
from snsnode.node.config import Endpoint, Restart
from snsnode.node.process import send_signal
from snsnode.supervisord.proxy import Supervisor
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_user_who_may_not_read_the_home_hears_what_the_network_tells(cluster: Cluster) -> None:
    cluster.await_available()
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        Path(folder).chmod(0o755)
        spec = Path(folder) / "cluster.yaml"
        spec.write_text(cluster.spec.read_text())

        os.chown(cluster.home, 54321, 54321)

        def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [sys.executable, "-P", "-m", "snsnode.cli.main", *arguments],
                env=cluster.environment | {"SNS_SPEC": str(spec), "SNS_HOME": str(cluster.home)},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                preexec_fn=_without_root_powers,
            )

        try:
            done = run("status", "--json")
            assert (done.returncode, done.stderr) == (0, "")
            found = json.loads(done.stdout)
            assert [server["state"] for server in found["servers"]].count("DOWN") == 0
            assert found["available"]
            assert any(f"the home {cluster.home} cannot be read by this user" in note for note in found["notes"])
            assert "not looked at" in run("status").stdout
            for command in (["why"], ["doctor"], ["generate", "--check"], ["start"], ["stop"], ["pause", "vm2"]):
                done = run(*command)
                assert done.returncode == 78, command
                assert f"{cluster.home} belongs to uid 54321" in done.stdout + done.stderr
                assert "Traceback" not in done.stderr
            assert run("validate").returncode == 0
        finally:
            os.chown(cluster.home, 0, 0)


def _without_root_powers() -> None:
    """Give up to read what others closed: prctl(2), capabilities(7). Another user may not run this Python."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        assert libc.prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP


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
    assert any("could not be looked up: vm2, " in note for note in found.notes)


def test_supervisord_that_has_loaded_another_version_is_told(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """supervisord loads the plug-in once: after an upgrade it has the old one until it is replaced."""
    supervisor = Supervisor(cluster.vm_dir("vm2").supervisor_socket)
    assert supervisor.plugin_version() == __version__
    assert not [note for note in cluster.status()["notes"] if "supervisord runs" in note]
    called = Supervisor.call

    def before_it_told(self: Supervisor, method: str, *arguments: Any, timeout_s: float = 5.0) -> Any:
        method = "noSuchMethod" if method == "getPluginVersion" else method
        return called(self, method, *arguments, timeout_s=timeout_s)

    monkeypatch.setattr(Supervisor, "call", before_it_told)
    assert supervisor.plugin_version() == ""
    [endpoint] = [Endpoint(VmName("vm2"), "127.0.0.1", cluster.ports["vm2"])]
    found = look(Question("c", (), (endpoint,), cluster.home), 5.0)
    older = f"runs snsnode 0.1.0, and {__version__} is installed"
    assert f"vm2 supervisord {older}; 'snsctl restart' brings it" in found.notes
    assert older in [finding.detail for finding in doctor_home._supervisord(VmName("vm2"), cluster.vm_dir("vm2"))]


def test_role_that_runs_another_version_is_told_and_how_to_change_that(cluster: Cluster) -> None:
    assert cluster.status()["servers"][0]["master"]["version"] == __version__
    record = cluster.vm_dir("vm2").pid("master")
    before = record.read_text()
    record.write_text(before.replace(f'"version": "{__version__}"', '"version": "0.0.9"'))
    try:
        status = json.loads(cluster.ctl("status", "--json").stdout)
        assert status["servers"][0]["master"]["version"] == "0.0.9"
        wanted = f"vm2 master runs snsnode 0.0.9, and {__version__} is installed; 'snsctl restart' brings it"
        assert wanted in status["notes"]
        said = cluster.ctl("doctor").stdout
        assert f"vm2 master: runs snsnode 0.0.9, and {__version__} is installed; run 'snsctl restart" in said
        record.write_text(before.replace(f', "version": "{__version__}"', ""))  # as 0.1.0 wrote it
        status = cluster.status()
        assert status["servers"][0]["master"]["version"] == "0.1.0"
        assert any(note.startswith("vm2 master runs snsnode 0.1.0, and ") for note in status["notes"])
    finally:
        record.write_text(before)
