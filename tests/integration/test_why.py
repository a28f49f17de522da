"""The real ``snsctl why``, ``pause`` and ``resume`` on a real cluster."""

import json
import re
from collections.abc import Iterator

import pytest

from snsnode.node import budget
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as started:
        yield started


def await_story(cluster: Cluster, pattern: str) -> str:
    """Return the first line of the story that ``pattern`` matches."""

    def found() -> str | None:
        lines = cluster.ctl("why", "vm2").stdout.splitlines()
        return next((line for line in lines if re.search(pattern, line)), None)

    return str(eventually(found, within_s=10, every_s=0.1))


def test_killed_master_is_one_line_with_cause_epoch_and_duration(cluster: Cluster) -> None:
    [victim] = cluster.kill("vm2", "master")
    line = await_story(cluster, rf"master \(process {victim.pid}\) died.* restarted")
    heir = cluster.await_role("vm2", "master", other_than=victim.pid)
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d vm2: master \(process {victim.pid}\) died(, killed by SIGKILL)?; "
        rf"restarted by the slave as process {heir}, epoch \d+, in \d+ ms",
        line,
    )


def test_killed_slave_is_told_with_its_heir(cluster: Cluster) -> None:
    [victim] = cluster.kill("vm2", "slave")
    heir = cluster.await_role("vm2", "slave", other_than=victim.pid)
    await_story(cluster, rf"slave \(process {victim.pid}\) died.*restarted by the master as process {heir}, in ")
    cluster.await_spares()


@pytest.mark.parametrize("how", ["snsctl", "supervisorctl"])
def test_planned_restart_is_told_as_one_and_not_counted(cluster: Cluster, how: str) -> None:
    cluster.await_spares()
    before = cluster.pid("vm2", "master")
    counted = budget.read(cluster.vm_dir("vm2")).totals.get("master", 0)
    if how == "snsctl":
        cluster.ctl("restart", "master", "--vm", "vm2")
    else:
        cluster.supervisorctl("vm2", "restart", "master")
    heir = cluster.await_role("vm2", "master", other_than=before)
    await_story(
        cluster,
        rf"master \(process {before}\) was restarted on purpose.*; now process {heir}, epoch \d+, .* later$",
    )
    assert f"{before}) died" not in cluster.ctl("why", "vm2").stdout
    assert budget.read(cluster.vm_dir("vm2")).totals.get("master", 0) == counted
    assert cluster.status()["servers"][0]["master"]["restarts"] == counted


def test_story_of_all_vms_has_the_router_and_last_cuts_it(cluster: Cluster) -> None:
    assert re.search(r" vm1: router \(process \d+\) started$", cluster.ctl("why").stdout, re.MULTILINE)
    assert len(cluster.ctl("why", "--last", "1").stdout.splitlines()) == 1
    assert cluster.ctl("why", "--last", "0", code=2).stdout == ""


def test_json_gives_the_raw_entries(cluster: Cluster) -> None:
    entries = [json.loads(line) for line in cluster.ctl("why", "vm2", "--json").stdout.splitlines()]
    assert {entry["vm"] for entry in entries} == {"vm2"}
    assert {"slave-started", "serving", "master-up"} <= {entry["event"] for entry in entries}
    assert entries == sorted(entries, key=lambda entry: str(entry["at"]))
    assert all(isinstance(entry["pid"], int) for entry in entries)


def test_vm_without_a_journal_says_so_and_an_unknown_one_is_refused() -> None:
    with running(start=False) as cluster:
        done = cluster.ctl("why", "vm2")
        assert done.stdout.startswith("nothing has happened yet")
        refused = cluster.ctl("why", "vm9", code=2)
        assert "'vm9'" in refused.stderr
        assert "vm1, vm2" in refused.stderr


def test_paused_pair_is_left_alone_until_it_is_resumed(cluster: Cluster) -> None:
    cluster.ctl("pause", "vm2")
    try:
        assert cluster.status()["servers"][0]["paused"] is True
        assert "is paused already" in cluster.ctl("pause", "vm2").stdout
        [victim] = cluster.kill("vm2", "master")
        await_story(cluster, rf"master \(process {victim.pid}\) ended while restarting was paused")
        # A restart takes a tenth of a second, and each look at the cluster longer.
        for _ in range(3):
            assert cluster.status()["servers"][0]["master"]["pid"] is None
    finally:
        cluster.ctl("resume")
    cluster.await_role("vm2", "master", other_than=victim.pid)
    assert cluster.status()["servers"][0]["paused"] is False
    assert "was not paused" in cluster.ctl("resume", "vm2").stdout
    story = [line.partition(" vm2: ")[2] for line in cluster.ctl("why", "vm2").stdout.splitlines()]
    assert story.index("restarting was paused by an operator") < story.index(
        "restarting was resumed by an operator"
    )
    cluster.await_spares()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["pause"], "write 'snsctl pause VM'"),
        (["pause", "vm1"], "has no server"),
        (["pause", "vm9"], "'vm9'"),
        (["resume", "vm1"], "has no server"),
        (["resume", "vm9"], "'vm9'"),
    ],
)
def test_bad_pauses_are_usage_errors(cluster: Cluster, arguments: list[str], part: str) -> None:
    refused = cluster.ctl(*arguments, code=2)
    assert part in refused.stderr
    assert refused.stderr.count("\n") == 1
