"""The watch on its event loop: what comes before what, and its end."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from snsnode.base.errors import Unavailable
from snsnode.base.ids import VmName
from snsnode.guard.machine import Cause, Rules
from snsnode.node import intent
from snsnode.node.config import Endpoint, KeepAlive, NodeConfig, Restart
from snsnode.node.lock import Holder
from snsnode.node.paths import VmDir
from snsnode.observe.journal import Journal
from snsnode.pair.spawn import Child
from snsnode.pair.watch import Partner, Watch
from tests.eventually import eventually_async
from tests.role_rig import Pair, holding, pair

__all__ = ["pair"]


async def _launch_nothing(cause: Cause) -> Child:
    raise AssertionError("nothing is launched here")


def _watch(
    vm_dir: VmDir,
    launch: Callable[[Cause], Awaitable[Child]] = _launch_nothing,
    on_down: Callable[[Holder | None, Cause], None] = lambda holder, cause: None,
) -> Watch:
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
    partner = Partner("master", launch=launch, beat=None, on_down=on_down)
    return Watch(vm_dir, config, partner, Rules(3, 1, 9, 20, sends=True), Journal(vm_dir.journal, vm, "slave"))


async def test_successor_is_launched_before_anybody_is_told_of_the_death(pair: Pair) -> None:
    """A spare waits for its "go", and clients for the spare."""
    happened: list[str] = []
    is_down = asyncio.Event()

    async def launch(cause: Cause) -> Child:
        happened.append("launched")
        raise Unavailable("not in this test")

    async def tell() -> None:
        await is_down.wait()
        happened.append("told")

    telling = asyncio.create_task(tell())
    with holding(pair, "master") as master:
        watching = asyncio.create_task(_watch(pair.vm_dir, launch, lambda holder, cause: is_down.set()).run())
        await asyncio.sleep(0.3)  # it watches by now; where it does not, it finds the death all the same
        master.signal(signal.SIGKILL, "Z")
        await eventually_async(lambda: len(happened) >= 2, within_s=10)
    assert happened[:2] == ["launched", "told"]
    watching.cancel()
    await asyncio.wait([watching, telling])


async def test_death_is_told_also_where_the_successor_is_seen_before_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's word comes late: a spare has the role, and the watcher looks before it wakes it."""
    ours = os.getpid()
    monkeypatch.setattr("snsnode.pair.watch.open_pidfd", lambda identity: os.pidfd_open(ours))
    told: list[Holder | None] = []
    watch = _watch(pair.vm_dir, on_down=lambda holder, cause: told.append(holder))
    with holding(pair, "master") as first:
        watching = asyncio.create_task(watch.run())
        await eventually_async(lambda: watch.partner == first.identity, within_s=10)
        first.signal(signal.SIGKILL, "Z")
        with holding(pair, "master") as second:
            await eventually_async(lambda: watch.partner == second.identity, within_s=10)
            watching.cancel()
            await asyncio.wait([watching])
    assert [holder.identity for holder in told if holder is not None] == [first.identity]


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
