"""The topology is edited in the YAML: what changed is restarted, added or removed, and nothing else is touched."""

import asyncio
import signal
import socket
from collections.abc import Iterator

import pytest

from snsnode.client import Client
from snsnode.node.process import send_signal
from tests.chaos.test_routers import told
from tests.cluster import Cluster, running
from tests.eventually import eventually
from tests.ports import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running(servers=2) as made:
        yield made


def pids(cluster: Cluster, *vms: str) -> dict[str, int]:
    roles = {"vm1": ("router",)}
    return {f"{vm} {role}": cluster.pid(vm, role) for vm in vms for role in roles.get(vm, ("slave", "master"))}


def add_vm(cluster: Cluster, vm: str) -> None:
    cluster.ports[vm] = free_port()
    line = f"  {vm}: {{address: 127.0.0.1, server: {{port: {cluster.ports[vm]}}}}}\n"
    cluster.spec.write_text(cluster.spec.read_text() + line)


def test_a_vm_is_added_and_removed_while_the_others_keep_their_pids(cluster: Cluster) -> None:
    before = pids(cluster, "vm1", "vm2", "vm3")
    text = cluster.spec.read_text()
    add_vm(cluster, "vm4")
    assert "vm4" in cluster.ctl("generate", "--diff").stdout
    cluster.ctl("generate", "--check", code=1)
    cluster.generate()
    cluster.ctl("generate", "--check")
    cluster.ctl("start")
    status = cluster.status()
    assert {server["vm"] for server in status["servers"]} == {"vm2", "vm3", "vm4"}
    assert all(server["state"] in ("AVAILABLE", "STANDBY") for server in status["servers"])
    assert pids(cluster, "vm1", "vm2", "vm3") == before

    cluster.spec.write_text(text)
    assert "vm4" in cluster.ctl("generate", "--diff").stdout
    cluster.generate()
    cluster.ctl("start")
    assert cluster.process("vm4", "master") is None
    assert not (cluster.home / "vm4" / "node.json").exists()
    assert cluster.bound_ports() == [cluster.ports[vm] for vm in ("vm1", "vm2", "vm3")]
    assert pids(cluster, "vm1", "vm2", "vm3") == before


def test_a_changed_port_moves_one_server_only(cluster: Cluster) -> None:
    before = pids(cluster, "vm1", "vm2")
    moved, old = free_port(), cluster.ports["vm3"]
    cluster.spec.write_text(cluster.spec.read_text().replace(f"port: {old}", f"port: {moved}"))
    cluster.ports["vm3"] = moved
    said = "the spec has other addresses than was generated for vm3; run 'snsctl generate'"
    assert said in cluster.ctl("status", code=None).stdout
    cluster.generate()
    cluster.ctl("start")
    assert pids(cluster, "vm1", "vm2") == before
    server = next(server for server in cluster.status()["servers"] if server["vm"] == "vm3")
    assert server["address"] == f"127.0.0.1:{moved}"
    assert server["state"] in ("AVAILABLE", "STANDBY")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", old)) != 0


def test_changed_heartbeats_restart_the_roles_that_use_them(cluster: Cluster) -> None:
    before = pids(cluster, "vm2", "vm3")
    cluster.spec.write_text(cluster.spec.read_text().replace("silence: 1s", "silence: 1500ms"))
    cluster.generate()
    cluster.ctl("start")
    after = pids(cluster, "vm2", "vm3")
    assert not set(before.values()) & set(after.values())
    cluster.ctl("start")
    assert pids(cluster, "vm2", "vm3") == after  # nothing left to change


async def test_running_servers_and_clients_learn_of_a_new_router(cluster: Cluster) -> None:
    before = pids(cluster, "vm1", "vm2", "vm3")
    port = cluster.ports["vm9"] = free_port()
    cluster.spec.write_text(
        cluster.spec.read_text() + f"  vm9: {{address: 127.0.0.1, router: {{port: {port}}}}}\n"
    )
    await asyncio.to_thread(cluster.generate)
    await asyncio.to_thread(cluster.ctl, "start")

    def both_know() -> bool:
        routers = cluster.status()["routers"]
        return {router["vm"]: router["state"] for router in routers} == {"vm1": "UP", "vm9": "UP"}

    await asyncio.to_thread(eventually, both_know, 10)
    async with Client([f"127.0.0.1:{port}"], "ida", deadline_s=10) as ida:
        assert (await ida.list())[0] == ["ida"]
    assert pids(cluster, "vm1", "vm2", "vm3") == before

    # Nor does a spare forget it that has waited since before: alone, the new router hears of the successor.
    first = cluster.signal("vm1", "router", signal.SIGSTOP)
    try:
        cluster.kill("vm2", "master")

        def successor_is_known() -> bool:
            reply = told(cluster, "vm9")
            return reply is not None and {each.vm: each.epoch for each in reply.servers}.get("vm2", 0) >= 2

        await asyncio.to_thread(eventually, successor_is_known, 15)
    finally:
        send_signal(first, signal.SIGCONT)


def test_a_taken_port_is_refused_with_its_holder_and_the_fix(cluster: Cluster) -> None:
    cluster.ctl("stop", "--vm", "vm2")
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", cluster.ports["vm2"]))
        squatter.listen()
        refused = cluster.ctl("start", "--vm", "vm2", code=78)
    assert f"127.0.0.1:{cluster.ports['vm2']} is in use by process" in refused.stderr
    assert "vms.vm2.server.port" in refused.stderr
    assert "Traceback" not in refused.stderr
    cluster.ctl("start", "--vm", "vm2")
