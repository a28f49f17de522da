"""Which servers a router goes by: its ``cluster.json``, also while that changes, breaks or is not there."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from snsnode.base.ids import VmName
from snsnode.node import cluster
from snsnode.node import config as node
from snsnode.node.cluster import ClusterFile
from snsnode.node.config import Endpoint
from snsnode.node.paths import VmDir
from snsnode.router import spec as specs
from snsnode.router.spec import Members, SpecFile
from tests.eventually import eventually_async
from tests.unit.test_node_config import CONFIG

VM2, VM3 = (Endpoint(VmName(vm), "127.0.0.1", port) for vm, port in (("vm2", 3020), ("vm3", 3030)))
R1 = Endpoint(VmName("vm1"), "127.0.0.1", 3010)
WITHIN_S = 10.0


@pytest.fixture
def vm_dir(tmp_path: Path) -> VmDir:
    folder = VmDir(tmp_path / "vm2")
    folder.make()
    (folder.path / node.FILENAME).write_text(node.to_json(CONFIG))
    return folder


def write(vm_dir: VmDir, *servers: Endpoint, name: str = "local") -> None:
    text = cluster.to_json(ClusterFile(name, servers, (R1,)))
    fresh = vm_dir.path / "fresh"
    fresh.write_text(text)
    fresh.replace(vm_dir.path / cluster.FILENAME)


def test_the_file_counts(vm_dir: VmDir, caplog: pytest.LogCaptureFixture) -> None:
    write(vm_dir, VM2, VM3)
    assert SpecFile(vm_dir, CONFIG).read() == Members((VM2, VM3), (R1,))
    assert caplog.records == []


def test_without_a_file_the_servers_of_this_home_count_and_that_is_told(
    vm_dir: VmDir, caplog: pytest.LogCaptureFixture
) -> None:
    """An older generate wrote none."""
    other = VmDir(vm_dir.home / "vm3")
    other.make()
    (other.path / node.FILENAME).write_text(
        node.to_json(dataclasses.replace(CONFIG, vm=VmName("vm3"), server_port=3030))
    )
    assert SpecFile(vm_dir, CONFIG).read() == Members((VM2, VM3), CONFIG.routers)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "no such file; run 'snsctl generate', which writes it" in record.message
    assert record.message.endswith("this router goes by the servers in this home alone")


@pytest.mark.parametrize("text", ["", "{broken", "[" * 100_000, cluster.to_json(ClusterFile("other", (VM3,)))])
def test_damaged_file_is_told_once_and_the_last_good_one_counts(
    vm_dir: VmDir, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(vm_dir, VM2, VM3)
    spec = SpecFile(vm_dir, CONFIG)
    good = spec.read()
    (vm_dir.path / cluster.FILENAME).write_text(text)
    for _ in range(3):
        assert spec.read() == good
    (record,) = caplog.records
    assert str(vm_dir.path / cluster.FILENAME) in record.message
    assert record.message.endswith("this router goes by the last good one")
    (vm_dir.path / cluster.FILENAME).unlink()
    assert spec.read() == good
    write(vm_dir, VM3)
    assert spec.read() == Members((VM3,), (R1,))


@asynccontextmanager
async def following(spec: SpecFile) -> AsyncIterator[list[Members]]:
    heard: list[Members] = []
    task = asyncio.create_task(spec.follow(heard.append))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_changed_file_is_taken_by_itself(vm_dir: VmDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "LOOK_EVERY_S", 0.01)
    write(vm_dir, VM2)
    async with following(SpecFile(vm_dir, CONFIG)) as heard:
        await eventually_async(lambda: _is(heard, [VM2]), within_s=WITHIN_S)
        write(vm_dir, VM2, VM3)
        await eventually_async(lambda: _is(heard, [VM2, VM3]), within_s=WITHIN_S)
        (vm_dir.path / cluster.FILENAME).write_text("{")
        write(vm_dir, VM3)
        await eventually_async(lambda: _is(heard, [VM3]), within_s=WITHIN_S)


async def _is(heard: list[Members], servers: list[Endpoint]) -> bool:
    return bool(heard) and list(heard[-1].servers) == servers
