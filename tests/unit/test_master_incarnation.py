"""The one owner of a server's epoch."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

import snsnode
from snsnode.base.errors import Exhausted
from snsnode.base.ids import Epoch, VmName
from snsnode.master.incarnation import Incarnation, Incarnations
from snsnode.node import epoch as epochs
from snsnode.node.config import KeepAlive, NodeConfig, Restart
from snsnode.node.lock import RoleLock, read_holder
from snsnode.node.paths import VmDir
from snsnode.store.protocol import Store
from tests.eventually import eventually_async

CONFIG = NodeConfig(
    "c",
    VmName("vm2"),
    "127.0.0.1",
    1,
    2,
    (),
    "sqlite:///x",
    "single",
    True,
    KeepAlive(3, 1, 9),
    Restart(5, 10, 10),
)


class FakeStore:
    """A store that knows ``epoch``, and has room or not."""

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = Epoch(epoch)
        self.has_room = True
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def claim_epoch(self, vm: VmName, at_least: Epoch) -> Epoch:
        self.asked += 1
        await asyncio.sleep(0)
        await self.may_answer.wait()
        if not self.has_room:
            raise Exhausted("the disk is full")
        self.epoch = Epoch(max(at_least, self.epoch + 1))
        return self.epoch


class Scene:
    def __init__(self, folder: Path, stored: int = 0) -> None:
        self.vm_dir = VmDir(folder)
        self.vm_dir.run.mkdir()
        self.store = FakeStore(stored)
        self.lock = RoleLock(self.vm_dir, "master")
        self.lock.take()
        self.owner = Incarnations(self.vm_dir, CONFIG, self.lock, cast(Store, self.store))

    @property
    def told(self) -> tuple[int, int, int]:
        """The epoch that we are, the one of the file, and the announced one."""
        holder = read_holder(self.vm_dir, "master")
        return self.owner.epoch(), epochs.read(self.vm_dir), holder.epoch if holder else -1


async def test_an_incarnation_has_one_epoch_everywhere(tmp_path: Path) -> None:
    scene = Scene(tmp_path, stored=7)
    epochs.record(scene.vm_dir, Epoch(4))
    scene.owner.announce()
    assert scene.told == (0, 4, 4)  # nobody yet: its predecessor's end may be untold
    await scene.owner.rise()
    assert scene.told == (8, 8, 8)
    assert scene.owner.now == Incarnation(Epoch(8), claimed=True)
    scene.lock.withdraw()


async def test_rising_at_once_above_several_routers_never_falls(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await asyncio.gather(*(scene.owner.rise_above(Epoch(known)) for known in (9, 3, 20, 5)))
    assert scene.owner.epoch() > 20
    assert len(set(scene.told)) == 1
    now = scene.owner.now
    await scene.owner.rise_above(Epoch(10))
    assert scene.owner.now == now
    scene.lock.withdraw()


async def test_a_store_without_room_is_claimed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snsnode.master.incarnation.CLAIM_RETRY_S", 0.01)
    scene = Scene(tmp_path)
    scene.store.has_room = False
    await scene.owner.rise()
    assert scene.owner.now == Incarnation(Epoch(1))
    scene.store.has_room = True
    claiming = asyncio.create_task(scene.owner.claim_later())
    await eventually_async(lambda: scene.owner.now.claimed, 10.0)
    claiming.cancel()
    assert len(set(scene.told)) == 1
    scene.lock.withdraw()


async def test_a_claim_that_waits_for_a_rise_takes_nothing_of_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snsnode.master.incarnation.CLAIM_RETRY_S", 0.0)
    scene = Scene(tmp_path)
    scene.store.has_room = False
    await scene.owner.rise()
    scene.store.may_answer.clear()
    rising = asyncio.create_task(scene.owner.rise_above(Epoch(9)))
    await eventually_async(lambda: scene.store.asked == 2, 10.0)
    claiming = asyncio.create_task(scene.owner.claim_later())
    for _ in range(10):
        await asyncio.sleep(0)  # it waits for the rise now
    scene.store.may_answer.set()
    await rising
    await eventually_async(lambda: scene.store.asked >= 4, 10.0)
    assert scene.told == (10, 10, 10)
    claiming.cancel()
    scene.lock.withdraw()


def test_nobody_else_takes_claims_or_records_an_epoch() -> None:
    rooms = Path(snsnode.__file__).parent
    words = ("claim_epoch(", "epochs.record", "epoch.record", "epochs.take", "epoch.take", "announce(epoch=")
    found = {
        (file.relative_to(rooms).as_posix(), word)
        for room in ("master", "slave", "pair", "supervisord", "control")
        for file in (rooms / room).rglob("*.py")
        for word in words
        if word in file.read_text()
    }
    assert {file for file, _ in found} == {"master/incarnation.py"}
