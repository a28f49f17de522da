"""Strangers flood a real cluster: nobody dies of it, newcomers are served, and the log keeps its history."""

import asyncio
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from snsnode.client import Client
from snsnode.observe.journal import read
from tests.cluster import Cluster, running
from tests.eventually import eventually, eventually_async
from tests.strangers.attacking import stranger

pytestmark = pytest.mark.integration

DESCRIPTORS = 2048
NEWCOMERS = 5
OURS = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (INFO|WARNING|ERROR|CRITICAL) (router|slave|master) ")
LINES_MAX = 100  # in a role's log, whatever strangers do for some seconds


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Without a spare: the masters inherit the limit of the slaves that launch them.
    with running(servers=2, spare=False, keepalive="{interval: 1s, timeout: 1s, silence: 3s}") as started:
        for vm in started.server_vms:
            resource.prlimit(started.pid(vm, "slave"), resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
            old = started.signal(vm, "master", signal.SIGKILL)
            started.await_role(vm, "master", within_s=30, other_than=old.pid)
        eventually(lambda: started.ctl("status", code=None).returncode == 0, within_s=30)
        yield started


def everybody(cluster: Cluster) -> dict[str, int]:
    pids = {f"{vm} {role}": cluster.pid(vm, role) for vm in cluster.server_vms for role in ("slave", "master")}
    return pids | {"router": cluster.pid(cluster.router_vm, "router")}


async def newcomers_are_served(cluster: Cluster, crowd: str) -> None:
    for number in range(NEWCOMERS):
        async with Client(cluster.router_targets, f"{crowd}{number}") as newcomer:
            await newcomer.post("hello")
            await asyncio.sleep(0.3)


@pytest.mark.parametrize(
    ("whom", "kind", "number"),
    [
        ("server", "connections", 1000),  # an only router has no other: such a flood saturates it
        ("server", "watches", 2000),
        ("server", "half-calls", 2000),
        ("server", "rubbish", 20_000),
        ("router", "watches", 2000),
        ("router", "half-calls", 2000),
        ("router", "rubbish", 20_000),
    ],
)
async def test_a_flood_ends_nobody_and_newcomers_are_served(
    whom: str, kind: str, number: int, cluster: Cluster
) -> None:
    await _nothing_happens(cluster, whom, {kind: number})


@pytest.mark.parametrize(
    ("whom", "kinds"),
    [
        ("router", {"registrations": 2000, "machines": 2000, "crashes": 2000, "exchanges": 500}),
        ("server", {"slow-calls": 200, "silent": 200}),
    ],
)
async def test_strangers_who_lie_or_dawdle_change_nothing(
    whom: str, kinds: dict[str, int], cluster: Cluster
) -> None:
    await _nothing_happens(cluster, whom, kinds)
    assert {server["vm"] for server in cluster.status()["servers"]} == set(cluster.server_vms)


async def _nothing_happens(cluster: Cluster, whom: str, kinds: dict[str, int]) -> None:
    vm = cluster.await_available() if whom == "server" else cluster.router_vm
    before, sizes, crowd = everybody(cluster), _lines(cluster), f"{whom}-{next(iter(kinds))}-"
    async with AsyncExitStack() as strangers:
        for kind, number in kinds.items():
            await strangers.enter_async_context(stranger(kind, f"127.0.0.1:{cluster.ports[vm]}", number))
        await newcomers_are_served(cluster, crowd)
        told = await asyncio.to_thread(cluster.status_json)
    await newcomers_are_served(cluster, f"{crowd}after-")
    assert everybody(cluster) == before
    assert {server["master"]["pid"] for server in told["servers"]} <= set(before.values())
    assert all(now - sizes[log] < LINES_MAX for log, now in _lines(cluster).items())
    assert "Traceback" not in "".join(log.read_text() for log in sizes)


def _lines(cluster: Cluster) -> dict[Path, int]:
    return {log: log.read_text().count("\n") for log in cluster.home.glob("*/log/*.log")}


def test_a_planned_end_leaves_lines_of_ours_only(cluster: Cluster) -> None:
    vm = cluster.await_available()
    cluster.ctl("stop", "master", "--vm", vm)
    cluster.ctl("start", "master", "--vm", vm)
    assert not _foreign_lines(cluster)


def _foreign_lines(cluster: Cluster) -> list[str]:
    return [
        line
        for log in cluster.home.glob("*/log/*.log")
        if log.name != "supervisord.log"
        for line in log.read_text().splitlines()
        if not OURS.match(line)
    ]


async def test_a_server_that_header_blocks_without_an_end_have_made_grow_is_replaced_in_good_order() -> None:
    with running(servers=2, spare=False, more="limits: {memory: 64MiB}") as cluster:
        vm = await asyncio.to_thread(cluster.await_available)
        before = {server: cluster.pid(server, "master") for server in cluster.server_vms}
        async with stranger("continuations", f"127.0.0.1:{cluster.ports[vm]}", 2):
            await eventually_async(lambda: _outgrown(cluster, vm) == 1, within_s=40)
            await newcomers_are_served(cluster, "newcomer")
        await asyncio.to_thread(cluster.await_role, vm, "master", 30, other_than=before.pop(vm))
        for other, pid in before.items():
            assert cluster.pid(other, "master") == pid
        assert _outgrown(cluster, vm) == 1


def _outgrown(cluster: Cluster, vm: str) -> int:
    return sum(entry.event == "outgrown" and entry.role == "master" for entry in read(cluster.vm_dir(vm).journal))


def test_a_planned_end_leaves_lines_of_ours_only_whoever_starts_supervisord() -> None:
    """``snsctl`` quiets gRPC for what it starts; a supervisord that somebody else starts hands nothing on."""
    with running(spare=False, start=False) as cluster:
        environment = {key: value for key, value in cluster.environment.items() if key != "GRPC_VERBOSITY"}
        for vm in cluster.vms:
            command = [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(cluster.conf(vm))]
            subprocess.run(command, env=environment, timeout=30, check=True)
        (vm,) = cluster.server_vms
        cluster.await_available()
        old = cluster.pid(vm, "master")
        cluster.supervisorctl(vm, "stop", "master")
        cluster.supervisorctl(vm, "start", "master")
        cluster.await_role(vm, "master", within_s=30, other_than=old)
        assert not _foreign_lines(cluster)
