"""A role that has outgrown its memory ends once, where it can be spared, and says so."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snsnode.node import cluster
from snsnode.node.paths import VmDir
from snsnode.observe import journal
from snsnode.observe.journal import Journal
from snsnode.pair import memory
from snsnode.pair.memory import MemoryGuard
from tests.eventually import eventually_async
from tests.shortage import no_descriptors

LOOKS = 20  # a guard that has not ended its role by then does not


@pytest.fixture
def vm_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VmDir:
    monkeypatch.setattr(memory, "LOOK_EVERY_S", 0.005)
    monkeypatch.setattr(memory, "ASK_EVERY_S", 0.01)
    monkeypatch.setattr(cluster, "MEMORY_MIN_BYTES", 1)
    monkeypatch.setattr(memory, "_end_at_last", lambda: None)  # it would end the tests
    made = VmDir(tmp_path)
    made.make()
    return made


def limited(vm_dir: VmDir, limit_bytes: int) -> None:
    text = cluster.to_json(cluster.ClusterFile("local", limits=cluster.Limits(limit_bytes)))
    (vm_dir.path / cluster.FILENAME).write_text(text)


async def ends(vm_dir: VmDir, role: str = "master", *, spared: bool = True, asks: int = 3) -> bool:
    """Tell whether a guard ends its role, at its first ``asks`` questions or looks."""
    stop, asked = asyncio.Event(), 0

    async def may_end() -> bool:
        nonlocal asked
        asked += 1
        return spared

    guard = MemoryGuard(vm_dir, role, Journal(vm_dir.journal, "vm2", role), may_end, stop)
    look, looks = guard._limit.look, 0

    async def counted() -> int:
        nonlocal looks
        looks += 1
        return await look()

    guard._limit.look = counted  # type: ignore[method-assign]
    task = asyncio.create_task(guard.run())
    try:
        await eventually_async(
            lambda: stop.is_set() or (looks >= LOOKS if spared else asked >= asks), within_s=10.0
        )
        return stop.is_set()
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_a_role_that_has_outgrown_its_limit_ends_once_in_ten_minutes(
    vm_dir: VmDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(vm_dir, cluster.MEMORY_MAX_BYTES)
    assert not await ends(vm_dir)
    monkeypatch.setattr(cluster, "MEMORY_DEFAULT_BYTES", 1)
    (vm_dir.path / cluster.FILENAME).unlink()
    assert await ends(vm_dir)
    assert not await ends(vm_dir)  # the next incarnation
    assert await ends(vm_dir, "slave")  # each role for itself
    monkeypatch.setattr(memory, "AGAIN_AFTER_S", 0.0)
    assert await ends(vm_dir)
    entries = [entry for entry in journal.read(vm_dir.journal) if entry.event == "outgrown"]
    assert [entry.role for entry in entries] == ["master", "slave", "master"]


async def test_the_limit_follows_its_file_and_a_damaged_one_changes_nothing(vm_dir: VmDir) -> None:
    limit = memory._Limit(vm_dir)
    assert await limit.look() == cluster.MEMORY_DEFAULT_BYTES
    limited(vm_dir, 70 * cluster.MIB)
    assert await limit.look() == 70 * cluster.MIB
    (vm_dir.path / cluster.FILENAME).write_text("{")
    assert await limit.look() == 70 * cluster.MIB
    (vm_dir.path / cluster.FILENAME).unlink()
    assert await limit.look() == cluster.MEMORY_DEFAULT_BYTES


async def test_a_role_that_cannot_be_spared_goes_on(vm_dir: VmDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MEMORY_DEFAULT_BYTES", 1)
    assert not await ends(vm_dir, spared=False)
    assert await ends(vm_dir)  # nothing was spent


@pytest.mark.parametrize("content", [b"", b"\xff", b"x" * 100_000, b"boot nan"])
async def test_a_damaged_note_is_replaced_and_costs_one_wait(
    content: bytes, vm_dir: VmDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "MEMORY_DEFAULT_BYTES", 1)
    (vm_dir.run / "master.outgrown").write_bytes(content)
    await ends(vm_dir)
    assert len((vm_dir.run / "master.outgrown").read_text().split()) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_where_it_cannot_be_noted_nobody_ends(vm_dir: VmDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MEMORY_DEFAULT_BYTES", 1)
    vm_dir.run.chmod(0o500)
    assert not await ends(vm_dir)


async def test_without_a_descriptor_nobody_ends(vm_dir: VmDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MEMORY_DEFAULT_BYTES", 1)
    stop = asyncio.Event()

    async def may_end() -> bool:
        return True

    guard = MemoryGuard(vm_dir, "master", Journal(vm_dir.journal, "vm2", "master"), may_end, stop)
    task = asyncio.create_task(guard.run())
    await asyncio.sleep(0)
    with no_descriptors():
        await asyncio.sleep(0.1)
        assert not stop.is_set() and not task.done()
    async with asyncio.timeout(10.0):
        await stop.wait()
    task.cancel()
    await asyncio.wait((task,))


def test_a_role_that_hangs_on_its_way_out_is_ended(tmp_path: Path) -> None:
    hanging = f"""
import asyncio, logging, time
from pathlib import Path
from snsnode.node import cluster
from snsnode.node.paths import VmDir
from snsnode.observe.journal import Journal
from snsnode.pair import memory
memory.LOOK_EVERY_S, memory.END_WITHIN_S = 0.01, 0.2
cluster.MEMORY_MIN_BYTES = cluster.MEMORY_DEFAULT_BYTES = 1
vm_dir = VmDir(Path({str(tmp_path)!r}))
vm_dir.make()

async def main():
    stop = asyncio.Event()
    async def may_end():
        return True
    guard = memory.MemoryGuard(vm_dir, "router", Journal(vm_dir.journal, "vm1", "router"), may_end, stop)
    task = asyncio.create_task(guard.run())
    await stop.wait()
    logging.root.handlers[0].acquire()
    time.sleep(30)  # its event loop does not turn any more, and nobody can log

logging.basicConfig()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", hanging], capture_output=True, timeout=25, check=False)
    assert done.returncode == 1, done.stderr
