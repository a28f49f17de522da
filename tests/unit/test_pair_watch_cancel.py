"""A watch that is cancelled ends, also where the cancellation comes together with its wake-up."""

import asyncio
from pathlib import Path

import pytest

from snsnode.base.ids import VmName
from snsnode.node import intent
from snsnode.node.config import Endpoint, KeepAlive, NodeConfig, Restart
from snsnode.node.paths import VmDir
from snsnode.observe.journal import Journal
from snsnode.pair.machine import Cause, Rules
from snsnode.pair.spawn import Child
from snsnode.pair.watch import Partner, Watch


async def _launch(cause: Cause) -> Child:
    raise AssertionError("nothing is launched here")


def _watch(vm_dir: VmDir) -> Watch:
    vm = VmName("vm2")
    config = NodeConfig(
        cluster="test",
        vm=vm,
        address="127.0.0.1",
        router_port=None,
        server_port=3020,
        routers=(Endpoint(vm, "127.0.0.1", 3010),),
        store="sqlite:///sns.db",
        selection="single",
        spare=False,
        keepalive=KeepAlive(3, 1, 9),
        restart=Restart(5, 10, 10),
    )
    partner = Partner("master", launch=_launch, beat=None, on_down=lambda holder, cause: None)
    return Watch(vm_dir, config, partner, Rules(3, 1, 9, 20, sends=True), Journal(vm_dir.journal, vm, "slave"))


@pytest.mark.parametrize("turns", range(4))
async def test_cancelled_in_the_turn_of_its_wake_up_it_ends(tmp_path: Path, turns: int) -> None:
    vm_dir = VmDir(tmp_path / "vm2")
    vm_dir.make()
    intent.stop(vm_dir, "master")
    watch = _watch(vm_dir)
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0.02)
    watch._wake.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10)
    assert done and task.cancelled()
