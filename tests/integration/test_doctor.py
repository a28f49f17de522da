"""The real ``snsctl doctor``, before a start, beside a running cluster, and after a crash."""

import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import Cluster, running

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running(start=False) as generated:
        spec = generated.spec.read_text()
        yield generated
        generated.spec.write_text(spec)
        generated.generate()


def examine(cluster: Cluster, code: int = 0) -> dict[str, dict[str, Any]]:
    findings = json.loads(cluster.ctl("doctor", "--json", code=code).stdout)
    assert all(set(finding) == {"level", "what", "detail", "fix"} for finding in findings)
    assert all(finding["fix"] for finding in findings if finding["level"] != "ok")
    found = {finding["what"]: finding for finding in findings}
    # To run as root is always told, and these tests may.
    assert found.pop("user")["level"] == ("warn" if os.geteuid() == 0 else "ok")
    return found


def examine_alone(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Return what is found where the home is not read."""
    return {finding["what"]: finding for finding in json.loads(cluster.ctl("doctor", "--json", code=78).stdout)}


def test_healthy_machine_has_ok_lines_only(cluster: Cluster) -> None:
    done = cluster.ctl("doctor")
    lines = [line for line in done.stdout.splitlines() if not line.startswith("warn  user: this is root")]
    assert {line[:6] for line in lines} == {"ok    "}
    assert done.stderr == ""
    assert examine(cluster)["vm2 port " + str(cluster.ports["vm2"])]["detail"] == "free"
    assert not (cluster.home / "sns.db").exists()  # it only looks


def test_running_cluster_holds_its_own_ports(cluster: Cluster) -> None:
    cluster.start()
    findings = examine(cluster)
    assert {finding["level"] for finding in findings.values()} == {"ok"}
    master = cluster.pid("vm2", "master")
    port = findings[f"vm2 port {cluster.ports['vm2']}"]
    assert port["detail"] == f"held by our own master (process {master})"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to somebody else")
@pytest.mark.parametrize("name", ["master.log", "supervisord.log", "journal.jsonl"])
def test_log_of_somebody_else_is_found_and_no_start_is_tried(cluster: Cluster, name: str) -> None:
    log = cluster.home / "vm2" / "log" / name
    log.touch()
    os.chown(log, 54321, 54321)
    finding = examine(cluster, code=1)["vm2 logs"]
    assert f"{log} belongs to uid 54321" in finding["detail"]
    assert f"chown 0 {log}" in finding["fix"]
    done = cluster.ctl("start", "slave", "--vm", "vm2", code=78)
    assert f"cannot write the log {log}: {log} belongs to uid 54321" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not cluster.processes()


def test_home_that_others_may_write_to_is_a_finding(cluster: Cluster) -> None:
    cluster.home.chmod(0o777)
    finding = examine_alone(cluster)["home"]
    cluster.home.chmod(0o700)
    assert finding["level"] == "FAIL"
    assert "others may write to" in finding["detail"]
    assert "chmod go-w" in finding["fix"]


def test_port_in_use_fails_and_names_the_holder(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", cluster.ports["vm2"])):
        finding = examine(cluster, code=1)[f"vm2 port {cluster.ports['vm2']}"]
    assert finding["level"] == "FAIL"
    assert "in use by process" in finding["detail"]
    assert "vms.vm2.server.port" in finding["fix"]


def test_edited_spec_and_old_settings_are_warnings(cluster: Cluster) -> None:
    cluster.start()
    cluster.spec.write_text(cluster.spec.read_text().replace("silence: 1s", "silence: 2s"))
    assert examine(cluster)["generated files"]["level"] == "warn"
    cluster.generate()
    findings = examine(cluster)
    assert findings["generated files"]["level"] == "ok"
    assert findings["vm2 master"]["fix"] == "run 'snsctl start'"


def test_home_without_generated_files_fails(cluster: Cluster) -> None:
    (cluster.home / "vm2" / "supervisord.conf").unlink()
    finding = examine(cluster, code=1)["generated files"]
    assert "vm2" in finding["detail"]
    assert "snsctl generate" in finding["fix"]


def test_what_a_killed_cluster_leaves_is_a_warning(cluster: Cluster) -> None:
    cluster.start()
    cluster.end_all()
    findings = examine(cluster)
    assert findings["vm2 master"]["level"] == "warn"
    assert "which is gone" in findings["vm2 master"]["detail"]
    assert "nobody answers" in findings["vm2 supervisord"]["detail"]


def test_pause_is_a_warning(cluster: Cluster) -> None:
    cluster.ctl("pause", "vm2")
    assert "snsctl resume vm2" in examine(cluster)["vm2 pair"]["fix"]


def test_foreign_and_newer_stores_fail(cluster: Cluster) -> None:
    store = cluster.home / "sns.db"
    for pragma, part in (("user_version = 7", "another program's"), ("application_id = 1936618289", "schema 7")):
        with sqlite3.connect(store) as db:
            db.execute(f"PRAGMA {pragma}")
        db.close()
        finding = examine(cluster, code=1)["store"]
        assert finding["level"] == "FAIL"
        assert part in finding["detail"]


def test_address_that_cannot_be_resolved_fails(cluster: Cluster) -> None:
    cluster.spec.write_text(
        cluster.spec.read_text() + "  vm8: {address: no-such-host.invalid, router: {port: 3010}}\n"
    )
    assert examine(cluster, code=1)["address no-such-host.invalid"]["level"] == "FAIL"


def test_bad_spec_is_reported_as_validate_does(cluster: Cluster) -> None:
    cluster.spec.write_text("cluster: 7\n")
    done: subprocess.CompletedProcess[str] = cluster.ctl("doctor", code=78)
    assert f"{cluster.spec}:1:" in done.stderr
