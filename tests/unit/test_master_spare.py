"""The spare's verdict on its slave: the rule alone, with a real process to end."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snsnode.base.ids import VmName
from snsnode.master import spare
from snsnode.node import budget, intent
from snsnode.node.budget import Budget
from snsnode.node.config import Endpoint, KeepAlive, NodeConfig, Restart
from snsnode.node.lock import Holder
from snsnode.node.paths import VmDir
from snsnode.observe.journal import read
from snsnode.pair.machine import LATE_S, SILENT_MIN_S
from tests.bounds import bounded_in_time, nothing_left_behind
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
    """Stands in for the health check: answers as it is told, and ends the watch after ``LOOKS``."""

    def __init__(self, answers: bool, frozen_at: int = 0, frozen_s: float = 0.0) -> None:
        self.asked = 0
        self._answers, self._frozen_at, self._frozen_s = answers, frozen_at, frozen_s

    async def __call__(self, target: str, within_s: float) -> bool:
        self.asked += 1
        if self.asked > LOOKS:
            raise asyncio.CancelledError
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
    """Run the spare's watch of ``slave`` until it has its verdict, or has looked ``LOOKS`` times."""
    vm_dir = folder_of(folder)
    (vm_dir.run / "slave.sock").touch()
    monkeypatch.setattr(spare, "is_serving", looks)
    watching = asyncio.create_task(spare._end_hung_slave(CONFIG, vm_dir, Holder(slave.identity)))
    await asyncio.wait([watching])


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


async def _rescue(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event) -> bool:
    return await spare._rescue(vm_dir, config, stop, dead=None)


WAITS = {"rescue": _rescue, "launch": spare._launch_slave}


@pytest.mark.usefixtures("long_wait")
@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("why", ["ended", "stopped", "paused", "shut down", "somebody came"])
async def test_wait_ends_when_it_is_not_ours_any_more(tmp_path: Path, slave: Sleeper, wait: str, why: str) -> None:
    vm_dir, stop = folder_of(tmp_path), asyncio.Event()
    if wait == "launch":
        _announce(vm_dir, "master", slave)
    waiting = asyncio.create_task(WAITS[wait](vm_dir, CONFIG, stop))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    match why:
        case "ended":
            stop.set()
        case "stopped":
            intent.stop(vm_dir, "slave")
        case "paused":
            intent.pause(vm_dir)
        case "shut down":
            intent.mark_shutdown(vm_dir)
        case _:
            _announce(vm_dir, "slave", slave)
    assert not await asyncio.wait_for(waiting, 10)


@pytest.mark.usefixtures("long_wait")
async def test_slave_is_not_waited_for_beside_a_master_that_died(tmp_path: Path) -> None:
    vm_dir = folder_of(tmp_path)
    with sleeper() as master:
        _announce(vm_dir, "master", master)
        waiting = asyncio.create_task(spare._launch_slave(vm_dir, CONFIG, asyncio.Event()))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 10)


def _announce(vm_dir: VmDir, role: str, holder: Sleeper) -> None:
    it = holder.identity
    about = {"start_ticks": it.start_ticks, "boot_id": it.boot_id, "epoch": 0, "config": "", "since_s": 0.0}
    vm_dir.pid(role).write_text(f"{it.pid}\n{json.dumps(about)}\n")


@pytest.mark.usefixtures("long_wait")
async def test_slave_that_is_not_yet_seen_dead_does_not_end_the_wait(tmp_path: Path, slave: Sleeper) -> None:
    """Its line closes before the kernel calls it dead; each wait that began anew would cost a restart."""
    vm_dir, stop = folder_of(tmp_path), asyncio.Event()
    _announce(vm_dir, "slave", slave)
    guarding = asyncio.create_task(spare._guard(vm_dir, CONFIG, stop, Holder(slave.identity)))
    await asyncio.sleep(0.5)
    stop.set()
    assert not await asyncio.wait_for(guarding, 10)
    assert [entry.event for entry in read(vm_dir.journal)] == ["rescue"]
