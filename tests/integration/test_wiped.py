"""Files removed, damaged or edited under running processes: a stop still stops, a start still starts."""

import shutil
import signal
import time
from collections.abc import Iterator

import pytest

from snsnode.node.lock import is_locked
from snsnode.node.process import identify, is_alive, send_signal
from tests.cluster import Cluster, running
from tests.eventually import eventually
from tests.ports import free_port

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def whole() -> Iterator[Cluster]:
    with running(servers=2) as made:
        yield made


@pytest.fixture
def cluster(whole: Cluster) -> Iterator[Cluster]:
    """The cluster as it was made, whatever the test before did to it."""
    spec, ports = whole.spec.read_text(), dict(whole.ports)
    whole.generate()
    whole.start()
    yield whole
    whole.spec.write_text(spec)
    whole.ports = ports


def test_a_removed_run_folder_is_mended_without_a_restart(cluster: Cluster) -> None:
    before = {role: cluster.pid("vm2", role) for role in ("slave", "master", "spare")}
    shutil.rmtree(cluster.vm_dir("vm2").run)
    eventually(lambda: all(is_locked(cluster.vm_dir("vm2"), role) for role in before), 10)
    assert {role: cluster.pid("vm2", role) for role in before} == before
    # Longer than anybody waits before calling a silent partner hung: a removed socket is no hang.
    patience_s = time.monotonic() + 3.0
    eventually(lambda: time.monotonic() > patience_s, 10, every_s=0.2)
    assert {role: cluster.pid("vm2", role) for role in before} == before
    cluster.ctl("start")  # a supervisord that nobody can reach is replaced, and the new one adopts
    assert {role: cluster.pid("vm2", role) for role in ("slave", "master")} == {
        role: before[role] for role in ("slave", "master")
    }
    assert cluster.supervisorctl("vm2", "status").stdout.count("RUNNING") == 2


def test_stop_ends_what_no_file_tells_of(cluster: Cluster) -> None:
    shutil.rmtree(cluster.vm_dir("vm2").run)
    shutil.rmtree(cluster.home / "vm3")
    cluster.stop()
    assert not cluster.processes()
    cluster.generate()


def test_stop_needs_no_readable_configuration(cluster: Cluster) -> None:
    (cluster.home / "vm3" / "node.json").write_text("{broken")
    cluster.spec.write_text(cluster.spec.read_text() + "  vm9: {address: 127.0.0.1, server: {port: 31999}}\n")
    cluster.stop()
    assert not cluster.processes()


def test_stop_ends_what_an_edit_has_dropped_or_moved(cluster: Cluster) -> None:
    text = cluster.spec.read_text()
    line = f"  vm3: {{address: 127.0.0.1, server: {{port: {cluster.ports['vm3']}}}}}\n"
    assert line in text
    cluster.spec.write_text(text.replace(line, ""))
    cluster.stop()
    assert not cluster.processes()


def test_start_does_what_it_can_and_names_what_is_broken(cluster: Cluster) -> None:
    cluster.stop()
    (cluster.home / "vm3" / "node.json").write_text("{broken")
    refused = cluster.ctl("start", code=78)
    assert "vm3" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert cluster.pid("vm2", "master")
    cluster.generate()
    cluster.ctl("start")


def test_another_clusters_spec_is_refused(cluster: Cluster) -> None:
    before = {vm: cluster.pid(vm, "master") for vm in cluster.server_vms}
    spec = cluster.spec.read_text()
    cluster.spec.write_text(spec.replace("cluster: ", "cluster: not-"))
    for command in (("stop",), ("restart", "master"), ("pause", "vm2"), ("status",), ("start",)):
        refused = cluster.ctl(*command, code=78)
        assert "another --home" in refused.stderr
    cluster.spec.write_text(spec)
    assert {vm: cluster.pid(vm, "master") for vm in cluster.server_vms} == before


def test_a_frozen_supervisord_is_replaced_by_start(cluster: Cluster) -> None:
    before = {role: cluster.pid("vm2", role) for role in ("slave", "master")}
    frozen = cluster.supervisord("vm2")
    assert frozen is not None
    send_signal(frozen, signal.SIGSTOP)
    cluster.ctl("start")
    assert {role: cluster.pid("vm2", role) for role in before} == before
    assert cluster.supervisorctl("vm2", "status").stdout.count("RUNNING") == 2


def test_a_stop_past_a_frozen_supervisord_leaves_no_order_behind(cluster: Cluster) -> None:
    frozen = cluster.supervisord("vm2")
    assert frozen is not None
    send_signal(frozen, signal.SIGSTOP)
    cluster.ctl("stop", "master", "--vm", "vm2")
    assert cluster.process("vm2", "master") is None
    send_signal(frozen, signal.SIGCONT)
    cluster.ctl("start", "master", "--vm", "vm2")
    cluster.await_available()
    assert cluster.pid("vm2", "master")


def test_a_port_goes_from_one_vm_to_another_in_one_edit(cluster: Cluster) -> None:
    given, moved = cluster.ports["vm2"], free_port()
    text = cluster.spec.read_text().replace(f"port: {given}", f"port: {moved}")
    cluster.spec.write_text(text + f"  vm4: {{address: 127.0.0.1, server: {{port: {given}}}}}\n")
    cluster.ports |= {"vm2": moved, "vm4": given}
    cluster.generate()
    cluster.ctl("start")
    assert {server["state"] for server in cluster.status()["servers"]} == {"AVAILABLE", "STANDBY"}


def test_home_behind_a_link_is_stopped_whole() -> None:
    with running(start=False) as cluster:
        real = cluster.home.rename(cluster.folder / "real")
        cluster.home.symlink_to(real)
        cluster.start()
        supervisords = [
            found for vm in cluster.vms if (found := identify(int(cluster.vm_dir(vm).supervisor_pid.read_text())))
        ]
        assert len(supervisords) == len(cluster.vms)
        cluster.stop()
        assert not any(is_alive(found) for found in supervisords)


def test_start_of_a_paused_pair_says_so_at_once(cluster: Cluster) -> None:
    cluster.ctl("pause", "vm2")
    cluster.ctl("stop", "--vm", "vm2")
    began_s = time.monotonic()
    assert "'snsctl resume vm2' ends that" in cluster.ctl("start", "--vm", "vm2", code=1).stderr
    assert time.monotonic() - began_s < 20  # not the 30 s of a start that never serves
    cluster.ctl("resume", "vm2")
    cluster.ctl("start")


def test_doctor_names_a_missing_folder_of_the_store() -> None:
    with running(start=False, more="store: sqlite:///deep/s.db") as generated:
        done = generated.ctl("doctor", code=1)
        assert f"there is no folder {generated.home}/deep" in done.stdout


def test_servers_on_one_port_of_two_addresses_are_restarted_alone() -> None:
    with running(servers=2, start=False) as generated:
        text = generated.spec.read_text()
        old, shared = generated.ports["vm3"], generated.ports["vm1"]
        line = f"vm3: {{address: 127.0.0.1, server: {{port: {old}}}}}"
        assert line in text
        generated.spec.write_text(text.replace(line, f"vm3: {{address: 127.0.0.2, server: {{port: {shared}}}}}"))
        generated.generate()
        generated.start()
        for role in ("slave", "master"):
            before = generated.pid("vm3", role)
            generated.ctl("restart", role, "--vm", "vm3")
            assert generated.pid("vm3", role) != before


def test_stop_leaves_no_half_written_record(cluster: Cluster) -> None:
    left = cluster.vm_dir("vm2").state / ".epoch.4242.tmp"  # whose writer was killed
    left.write_text("7")
    cluster.stop()
    assert not left.exists()
