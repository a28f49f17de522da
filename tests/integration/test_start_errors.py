"""What a start or a restart says that cannot succeed: the cause, and soon."""

import socket
import time
from collections.abc import Iterator

import pytest

from snsnode.base.errors import Unavailable
from snsnode.control import start
from snsnode.control.local import load
from snsnode.node.config import RoleName
from tests.cluster import Cluster, running

pytestmark = pytest.mark.integration

SOON_S = 15.0  # a start waits 30 s for a role that may yet serve


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running(start=False) as generated:
        yield generated


@pytest.mark.parametrize("role", ["slave", "master"])
def test_start_tells_the_masters_own_cause(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, role: RoleName
) -> None:
    log = cluster.vm_dir("vm2").log("master")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("2026-01-01T00:00:00.000Z ERROR master vm2 [1] an error of the past\n")
    (cluster.home / "sns.db").write_text("no database" * 1000)
    monkeypatch.setattr(start, "SERVES_WITHIN_S", 4.0)
    (vm,) = load(cluster.home, ["vm2"])  # type: ignore[list-item]
    with pytest.raises(Unavailable) as failed:
        start.start_roles(vm, [role], print)
    assert "the log of the master says: cannot open the store" in failed.value.message
    assert "it is not a SQLite database" in failed.value.message
    assert str(log) in failed.value.message


@pytest.mark.parametrize("role", ["master", "slave"])
def test_restart_with_a_taken_port_fails_at_once_and_names_the_holder(cluster: Cluster, role: str) -> None:
    cluster.start()
    cluster.ctl("stop", "master", "--vm", "vm2")
    with socket.create_server(("127.0.0.1", cluster.ports["vm2"])):
        began_s = time.monotonic()
        done = cluster.ctl("restart", role, "--vm", "vm2", code=78)
        assert time.monotonic() - began_s < SOON_S
    assert f"127.0.0.1:{cluster.ports['vm2']} is in use by process" in done.stderr
    cluster.ctl("start", "master", "--vm", "vm2")
    for each in ("master", "slave"):
        cluster.ctl("restart", each, "--vm", "vm2")


def test_restart_onto_a_port_of_somebody_else_leaves_the_old_one_running(cluster: Cluster) -> None:
    cluster.start()
    before = cluster.pid("vm2", "master")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        cluster.spec.write_text(cluster.spec.read_text().replace(str(cluster.ports["vm2"]), str(port)))
        cluster.generate()
        done = cluster.ctl("restart", "master", "--vm", "vm2", code=78)
        assert f"127.0.0.1:{port} is in use by process" in done.stderr
        assert cluster.pid("vm2", "master") == before
