"""``snsctl status`` after a stop: what is stopped is said to be stopped, and nobody is missed."""

import pytest

from tests.cluster import running

pytestmark = pytest.mark.integration


def test_stopped_cluster_is_stopped_and_nothing_else() -> None:
    with running() as cluster:
        cluster.stop()
        found = cluster.status_json()
        (server,) = found["servers"]
        assert (server["state"], found["available"]) == ("DOWN", None)
        assert [(server[role]["pid"], server[role]["state"]) for role in ("master", "slave")] == [
            (None, "STOPPED"),
            (None, "STOPPED"),
        ]
        assert "stopped: vm1, vm2; 'snsctl start' starts what was stopped" in found["notes"]
        assert not any("supervisord" in note for note in found["notes"])
        assert "UNKNOWN" not in cluster.ctl("status", code=1).stdout


def test_role_that_was_stopped_alone_is_stopped() -> None:
    with running() as cluster:
        cluster.ctl("stop", "master", "--vm", "vm2")
        (server,) = cluster.status_json()["servers"]
        assert server["master"]["state"] in ("STOPPED", "EXITED")
        assert server["slave"]["state"] == "RUNNING"
