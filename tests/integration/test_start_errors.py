"""What a start or a restart says that cannot succeed: the cause, and soon."""

import re
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

from snsnode.node.config import RoleName
from snsnode.observe.events import Failed
from snsnode.observe.journal import read
from tests.cluster import Cluster, running

pytestmark = pytest.mark.integration

SOON_S = 15.0  # a start waits 30 s for a role that may yet serve


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running(start=False) as generated:
        yield generated


@pytest.mark.parametrize("role", ["slave", "master"])
def test_start_tells_the_masters_own_cause(cluster: Cluster, role: RoleName) -> None:
    log = cluster.vm_dir("vm2").log("master")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("2026-01-01T00:00:00.000Z ERROR master vm2 [1] an error of the past\n")
    (cluster.home / "sns.db").write_text("no database" * 1000)
    began_s = time.monotonic()
    done = cluster.ctl("start", role, "--vm", "vm2", code=78)
    assert time.monotonic() - began_s < SOON_S
    assert "the log of the master says: cannot open the store" in done.stderr
    assert "it is not a SQLite database" in done.stderr
    assert str(log) in done.stderr
    assert "Traceback" not in done.stderr


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


ENDINGS = [
    (
        "OSError(28, 'No space left on device', 'state/epoch')",
        1,
        "cannot go on: [Errno 28] No space left",
        False,
    ),
    ("OSError(5, 'Input/output error')", 1, "cannot go on: [Errno 5]", True),
    ("Unavailable('cannot do it now')", 1, "cannot do it now", False),
    ("ConfigError('cannot do it ever')", 78, "cannot do it ever", False),
]


@pytest.mark.parametrize(("error", "code", "message", "traced"), ENDINGS)
def test_role_logs_why_it_ended(cluster: Cluster, error: str, code: int, message: str, traced: bool) -> None:
    script = textwrap.dedent(
        f"""
        import sys
        from snsnode.base.errors import ConfigError, Unavailable
        from snsnode.pair import role

        async def run(*_):
            raise {error}

        sys.exit(role.main("master", "vm2", run))
        """
    )
    where = cluster.vm_dir("vm2")
    told = len(read(where.journal))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=where.path, stderr=subprocess.PIPE, text=True, timeout=30
    )
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert message in line
    log = where.log("master").read_text()
    assert re.match(rf"\S+ ERROR master vm2 \[\d+\] {re.escape(message)}", log)
    assert ("Traceback" in log) is traced
    [failed] = [entry.what for entry in read(where.journal)[told:]]
    assert isinstance(failed, Failed)
    assert (failed.exit_code, failed.cause[:9]) == (code, message[:9])
