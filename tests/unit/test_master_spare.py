"""The spare's verdict on its slave: the rule alone, with a real process to end."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snsnode.base.ids import VmName
from snsnode.guard.times import LATE_S, SILENT_MIN_S
from snsnode.master import spare
from snsnode.master.spare import Standby
from snsnode.node import budget, intent
from snsnode.node.budget import Budget
from snsnode.node.config import Endpoint, KeepAlive, NodeConfig, Restart
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity
from snsnode.observe.journal import read
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.eventually import eventually_async
from tests.processes import Sleeper, sleeper

__all__ = ["bounded_in_time", "nothing_left_behind"]

INTERVAL_S, TIMEOUT_S, SILENCE_S = 0.05, 0.05, 0.3
LOOKS = 40  # far more than the silence lasts
LONG_S = 60.0
CONFIG = NodeConfig(
    cluster="test",
    vm=VmName("vm2"),
    address="127.0.0.1",
    router_port=None,
    server_port=3020,
    routers=(Endpoint(VmName("vm2"), "127.0.0.1", 3010),),
    store="sqlite:///sns.db",
    selection="single",
    spare=True,
    keepalive=KeepAlive(INTERVAL_S, TIMEOUT_S, SILENCE_S),
    restart=Restart(5, 10, 10),
)


class Looks:
    """Stands in for the health check: answers as it is told, and ends the wait after ``LOOKS``."""

    def __init__(self, answers: bool, frozen_at: int = 0, frozen_s: float = 0.0) -> None:
        self.asked = 0
        self.over = asyncio.Event()
        self._answers, self._frozen_at, self._frozen_s = answers, frozen_at, frozen_s

    async def __call__(self, target: str, within_s: float) -> bool:
        self.asked += 1
        if self.asked > LOOKS:
            self.over.set()
        if self.asked == self._frozen_at:
            time.sleep(self._frozen_s)  # noqa: ASYNC251 - the whole process stands still, as under SIGSTOP
            return False
        return self._answers


@pytest.fixture
def slave() -> Iterator[Sleeper]:
    with sleeper() as process:
        yield process


def folder_of(path: Path) -> VmDir:
    vm_dir = VmDir(path / "vm2")
    vm_dir.make()
    return vm_dir


async def watch(folder: Path, slave: Sleeper, looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a spare stand by beside ``slave``, its own, until it has asked ``LOOKS`` times."""
    vm_dir = folder_of(folder)
    (vm_dir.run / "slave.sock").touch()
    _announce(vm_dir, "slave", slave)
    monkeypatch.setattr(spare, "is_serving", looks)
    assert not await Standby(vm_dir, CONFIG, looks.over, slave.identity).run()


async def test_slave_that_does_not_answer_is_ended(
    tmp_path: Path, slave: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(answers=False)
    began_s = time.monotonic()
    await watch(tmp_path, slave, looks, monkeypatch)
    assert slave.state in ("Z", "")
    assert time.monotonic() - began_s >= SILENT_MIN_S  # however short the spec's silence is
    assert '"event": "slave-down"' in (tmp_path / "vm2" / "log" / "journal.jsonl").read_text()


async def test_slave_that_answers_is_left_alone(
    tmp_path: Path, slave: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watch(tmp_path, slave, Looks(answers=True), monkeypatch)
    assert slave.state == "S"


async def test_spare_that_was_frozen_while_it_asked_knows_nothing(
    tmp_path: Path, slave: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(answers=True, frozen_at=3, frozen_s=LATE_S + SILENT_MIN_S)
    await watch(tmp_path, slave, looks, monkeypatch)
    assert slave.state == "S"
    assert looks.asked > LOOKS


# --- waiting as the budget says ---------------------------------------------------------------------------------


@pytest.fixture
def long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "withdraw", lambda *_: (Budget(delayed=1), LONG_S))


def alone(vm_dir: VmDir, stop: asyncio.Event, ours: Identity | None = None) -> Standby:
    """A spare whose slave has just died."""
    standby = Standby(vm_dir, CONFIG, stop, ours)
    standby.hear(b"")
    return standby


async def until_planned(standby: Standby, planned: bool = True) -> None:
    await eventually_async(lambda: (standby._plan is not None) == planned, within_s=10)


@pytest.mark.usefixtures("long_wait")
@pytest.mark.parametrize("wait", ["rescue", "launch"])
@pytest.mark.parametrize("why", ["ended", "stopped", "paused", "shut down", "somebody came"])
async def test_wait_ends_when_it_is_not_ours_any_more(tmp_path: Path, slave: Sleeper, wait: str, why: str) -> None:
    vm_dir, stop = folder_of(tmp_path), asyncio.Event()
    with sleeper() as master:
        if wait == "launch":
            _announce(vm_dir, "master", master)
        standby = alone(vm_dir, stop)
        waiting = asyncio.create_task(standby.run())
        await until_planned(standby)
        match why:
            case "ended":
                stop.set()
            case "stopped":
                intent.stop(vm_dir, "slave")
            case "paused":
                intent.pause(vm_dir)
                await until_planned(standby, planned=False)
                assert not waiting.done()
                stop.set()
            case "shut down":
                intent.mark_shutdown(vm_dir)
            case _:
                _announce(vm_dir, "slave", slave)
        assert not await asyncio.wait_for(waiting, 10)


@pytest.mark.usefixtures("long_wait")
async def test_slave_is_not_waited_for_beside_a_master_that_died(tmp_path: Path) -> None:
    vm_dir, stop = folder_of(tmp_path), asyncio.Event()
    standby = alone(vm_dir, stop)
    with sleeper() as master:
        _announce(vm_dir, "master", master)
        waiting = asyncio.create_task(standby.run())
        await until_planned(standby)
    await eventually_async(
        lambda: [entry.event for entry in read(vm_dir.journal)] == ["slave-launch", "rescue"], within_s=10
    )
    stop.set()
    assert not await asyncio.wait_for(waiting, 10)


def _announce(vm_dir: VmDir, role: str, holder: Sleeper) -> None:
    it = holder.identity
    about = {"start_ticks": it.start_ticks, "boot_id": it.boot_id, "epoch": 0, "config": "", "since_s": 0.0}
    vm_dir.pid(role).write_text(f"{it.pid}\n{json.dumps(about)}\n")


@pytest.mark.usefixtures("long_wait")
async def test_slave_that_is_not_yet_seen_dead_does_not_end_the_wait(tmp_path: Path, slave: Sleeper) -> None:
    """Its line closes before the kernel calls it dead; each wait that began anew would cost a restart."""
    vm_dir, stop = folder_of(tmp_path), asyncio.Event()
    _announce(vm_dir, "slave", slave)
    waiting = asyncio.create_task(alone(vm_dir, stop, slave.identity).run())
    await asyncio.sleep(0.5)
    stop.set()
    assert not await asyncio.wait_for(waiting, 10)
    assert [entry.event for entry in read(vm_dir.journal)] == ["rescue"]
