"""An event loop turns whatever its disk, its locks or its partners do: what blocks is the owned thread's."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from snsnode.base.errors import Held
from snsnode.base.ids import Epoch, VmName
from snsnode.master.incarnation import Incarnation, Incarnations
from snsnode.node import epoch as epochs
from snsnode.node.config import KeepAlive, NodeConfig, Restart
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
from snsnode.observe.events import Paused, Resumed
from snsnode.observe.journal import Journal, read
from snsnode.pair import disk, reload
from snsnode.pair.role import take_role
from snsnode.slave import spare
from snsnode.store.protocol import Store
from tests.bounds import bounded_in_time
from tests.eventually import eventually_async
from tests.processes import sleeper

__all__ = ["bounded_in_time"]

STEP_S = 10.0
TURNS = 5
KEEPALIVE, RESTART = KeepAlive(3, 1, 9), Restart(5, 10, 10)
CONFIG = NodeConfig("c", VmName("vm2"), "127.0.0.1", 1, 2, (), "sqlite:///x", "single", True, KEEPALIVE, RESTART)


class Hang:
    """A call that hangs until it is let go; with what a loop that waits for it cannot do, it is let go alone."""

    def __init__(self, answer: object = None) -> None:
        self.called = threading.Event()
        self.let = threading.Event()
        self.ended = threading.Event()
        self._answer = answer

    def __call__(self, *arguments: object, **options: object) -> Any:
        self.called.set()
        self.let.wait(2.0)
        self.ended.set()
        return self._answer


async def assert_turns_meanwhile(hang: Hang) -> None:
    """The loop turns after the call began, and before it ends."""
    await eventually_async(hang.called.is_set, STEP_S)
    for _ in range(TURNS):
        await asyncio.sleep(0.01)
    assert not hang.ended.is_set(), "the loop stood still until the call was over"
    hang.let.set()


@asynccontextmanager
async def beside(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Run ``work`` for the block, then cancel it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield task
        task.cancel()


@pytest.fixture
def vm(tmp_path: Path) -> VmDir:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    return vm


_HOLDER = """
from pathlib import Path
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
lock = RoleLock(VmDir(Path(sys.argv[1])), "master")
lock.take()
lock.announce()
hold()
"""


async def test_a_loop_turns_while_a_dying_holder_keeps_the_lock(vm: VmDir) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with sleeper(_HOLDER, str(vm.path)) as holder:
        async with beside(turn()):
            with pytest.raises(Held, match=f"process {holder.identity.pid} holds master.lock"):
                await take_role(RoleLock(vm, "master"), 0.2)
    assert turns > TURNS
    lock = RoleLock(vm, "master")
    await take_role(lock, STEP_S)
    lock.withdraw()


async def test_a_loop_turns_while_the_disk_hangs_and_a_bound_holds() -> None:
    hang = Hang()
    async with beside(disk.do(hang)):
        await eventually_async(hang.called.is_set, STEP_S)
        with pytest.raises(TimeoutError):
            await disk.do(lambda: "behind it", 0.05)
        await assert_turns_meanwhile(hang)
    assert await disk.do(lambda: "after it", STEP_S) == "after it"


async def test_what_a_job_raises_is_raised_where_it_is_awaited() -> None:
    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await disk.do(fail)


async def test_a_job_that_nobody_waits_for_any_more_is_not_begun() -> None:
    hang, done = Hang(), []
    disk.post(hang)
    await eventually_async(hang.called.is_set, STEP_S)
    with pytest.raises(TimeoutError):
        await disk.do(lambda: done.append("late"), 0.02)
    hang.let.set()
    await disk.do(lambda: None, STEP_S)
    assert done == []


async def test_a_disk_that_hangs_takes_so_many_jobs_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = Hang()
    disk.post(hang)
    await eventually_async(hang.called.is_set, STEP_S)
    for _ in range(disk.JOBS_MAX + 10):
        disk.post(lambda: None)
    with pytest.raises(TimeoutError, match="not done with 1000 jobs"):
        await disk.do(lambda: None, STEP_S)
    hang.let.set()
    disk.flush(STEP_S)


async def test_a_journal_is_written_in_order_and_not_waited_for(
    vm: VmDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = Hang()
    disk.post(hang)
    mine = Journal(vm.journal, "vm2", "slave", later=disk.post)
    for event in (Paused(), Resumed()):
        mine.write(event)
    await assert_turns_meanwhile(hang)
    disk.flush(STEP_S)
    assert [entry.event for entry in read(vm.journal)] == ["paused", "resumed"]


async def test_a_slave_turns_while_it_looks_at_the_code(vm: VmDir, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = Hang(answer=7)
    monkeypatch.setattr(spare, "_code_fingerprint", hang)
    async with beside(spare.SpareKeeper(vm, CONFIG).run()):
        await assert_turns_meanwhile(hang)


async def test_a_role_turns_while_it_reads_its_configuration(vm: VmDir, monkeypatch: pytest.MonkeyPatch) -> None:
    (vm.path / "node.json").write_text("{}")
    hang, heard = Hang(answer=CONFIG), asyncio.Event()
    monkeypatch.setattr(reload, "load", hang)
    async with beside(reload.follow_config(vm, lambda new: heard.set())):
        await assert_turns_meanwhile(hang)
        await asyncio.wait_for(heard.wait(), STEP_S)


async def test_a_master_turns_while_its_epoch_is_recorded(vm: VmDir, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = [Hang(), Hang()]  # before the store's claim, and after it
    calls = iter(hangs)
    monkeypatch.setattr(epochs, "record", lambda *_: next(calls)())

    class FakeStore:
        async def claim_epoch(self, vm: str, at_least: Epoch) -> Epoch:
            return at_least

    owner = Incarnations(vm, CONFIG, RoleLock(vm, "master"), cast(Store, FakeStore()))
    async with asyncio.TaskGroup() as group:
        group.create_task(owner.rise_above(Epoch(6)))
        for hang in hangs:
            await assert_turns_meanwhile(hang)
    assert owner.now == Incarnation(Epoch(7), claimed=True)
