"""A real pair whose files are damaged: it lives, comes back from a death of all, and tells what was set aside."""

import json
import os
from collections.abc import Iterator

import pytest

from snsnode.node import epoch
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as started:
        yield started


def test_pair_whose_files_are_damaged_comes_back_and_tells(cluster: Cluster) -> None:
    vm = cluster.vm_dir("vm2")
    before = epoch.read(vm)
    (vm.state / "epoch").write_text(f"{2**61}\n")  # within range, and far above the store's
    (vm.state / "restarts.json").write_text('{"totals": ' * 50_000)
    vm.pid("master").write_text(f"{cluster.pid('vm2', 'master')}\n" + '{"since_s": NaN}')
    victims = [cluster.process("vm2", role) for role in ("slave", "spare")]
    assert all(victims)
    eventually(lambda: cluster.process("vm2", "master") is not None, within_s=10)  # it writes its pid file anew
    cluster.kill("vm2", "slave", "master", "spare")
    cluster.await_role("vm2", "master", within_s=30)
    cluster.await_available(within_s=30)
    assert before < epoch.read(vm) < before + 100
    told = cluster.ctl("why", "vm2").stdout
    for name in ("epoch", "restarts.json", "master.pid"):
        assert f"{name} was damaged (" in told
    findings = cluster.ctl("doctor", code=None).stdout
    assert "damaged files were set aside" in findings


def test_epoch_that_is_no_number_costs_nothing_either(cluster: Cluster) -> None:
    vm = cluster.vm_dir("vm2")
    cluster.await_spares(within_s=30)
    before = epoch.read(vm)
    (vm.state / "epoch").unlink()
    os.mkfifo(vm.state / "epoch")
    heir = cluster.pid("vm2", "spare")
    cluster.kill("vm2", "master")
    assert cluster.await_role("vm2", "master", within_s=30, other_than=0) in (heir, cluster.pid("vm2", "master"))
    cluster.await_available(within_s=30)
    assert before < epoch.read(vm) < before + 100


def test_why_counts_what_is_no_entry_and_tells_the_rest(cluster: Cluster) -> None:
    with cluster.vm_dir("vm2").journal.open("ab") as journal:
        journal.write(b'5\nnull\n{"at": 1, "role": 2, "event": []}\n' + b"[" * 50_000 + b"\n\xff\xfe\n")
    for arguments in (["why"], ["why", "--json"]):
        done = cluster.ctl(*arguments)
        assert "left out 5 lines of the journal" in done.stderr
        assert "epoch" in done.stdout
    assert json.loads(cluster.ctl("why", "--json", "--last", "1").stdout)["vm"].startswith("vm")
