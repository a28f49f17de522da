"""The spare's verdict on its slave: the rule alone, with a real process to end."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snsnode.base.ids import VmName
from snsnode.master import spare
from snsnode.node.config import Endpoint, KeepAlive, NodeConfig, Restart
from snsnode.node.lock import Holder
from snsnode.node.paths import VmDir
from tests.bounds import bounded_in_time, nothing_left_behind
from tests.processes import Sleeper, sleeper

__all__ = ["bounded_in_time", "nothing_left_behind"]

INTERVAL_S, TIMEOUT_S, SILENCE_S = 0.05, 0.05, 0.3
LOOKS = 20  # far more than the silence lasts


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


async def watch(folder: Path, slave: Sleeper, looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the spare's watch of ``slave`` until it has its verdict, or has looked ``LOOKS`` times."""
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
        spare=True,
        keepalive=KeepAlive(INTERVAL_S, TIMEOUT_S, SILENCE_S),
        restart=Restart(5, 10, 10),
    )
    vm_dir = VmDir(folder / "vm2")
    vm_dir.make()
    (vm_dir.run / "slave.sock").touch()
    monkeypatch.setattr(spare, "is_serving", looks)
    watching = asyncio.create_task(spare._end_hung_slave(config, vm_dir, Holder(slave.identity)))
    await asyncio.wait([watching])


async def test_slave_that_does_not_answer_is_ended(
    tmp_path: Path, slave: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(answers=False)
    await watch(tmp_path, slave, looks, monkeypatch)
    assert slave.state in ("Z", "")
    assert looks.asked * INTERVAL_S >= SILENCE_S  # and not a look too early
    assert '"event": "slave-down"' in (tmp_path / "vm2" / "log" / "journal.jsonl").read_text()


async def test_slave_that_answers_is_left_alone(
    tmp_path: Path, slave: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watch(tmp_path, slave, Looks(answers=True), monkeypatch)
    assert slave.state == "S"


async def test_spare_that_was_frozen_while_it_asked_knows_nothing(
    tmp_path: Path, slave: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(answers=True, frozen_at=3, frozen_s=spare.LATE_S + SILENCE_S + 2 * INTERVAL_S + TIMEOUT_S)
    await watch(tmp_path, slave, looks, monkeypatch)
    assert slave.state == "S"
    assert looks.asked > LOOKS
