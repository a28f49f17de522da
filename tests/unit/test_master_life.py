"""Who writes into the journal when a process of the master's module fails: a spare is no master yet."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from snsnode.base.errors import EXIT_CONFIG, Held
from snsnode.base.ids import VmName
from snsnode.master import run as master
from snsnode.master.run import Life
from snsnode.node.config import FILENAME, KeepAlive, NodeConfig, Restart, to_json
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
from snsnode.observe.journal import read
from tests.processes import STEP_S

CONFIG = NodeConfig(
    "c",
    VmName("vm2"),
    "127.0.0.1",
    1,
    2,
    (),
    "sqlite:///sns.db",
    "single",
    True,
    KeepAlive(3, 1, 9),
    Restart(5, 10, 10),
)


@pytest.mark.parametrize(("flags", "who"), [(("--spare",), "spare"), ((), "master")])
def test_failure_of_a_spare_is_not_told_as_the_master_s(tmp_path: Path, flags: tuple[str, ...], who: str) -> None:
    vm = VmDir(tmp_path / "vm2")
    vm.path.mkdir()
    (vm.path / FILENAME).write_text(to_json(replace(CONFIG, store=f"sqlite:///{tmp_path}/missing/sns.db")))
    done = subprocess.run(
        [sys.executable, "-m", "snsnode.master", "vm2", *flags], cwd=vm.path, capture_output=True, timeout=STEP_S
    )
    assert done.returncode == EXIT_CONFIG
    assert [(entry.role, entry.event) for entry in read(vm.journal)] == [(who, "failed")]


async def test_spare_whose_turn_has_come_is_the_master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(*_: object) -> bool:
        return True

    monkeypatch.setattr(master, "wait_for_turn", at_once)
    monkeypatch.setattr(master, "LOCK_WAIT_S", 0.0)
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    other = RoleLock(vm, "master")
    other.take()
    life = Life(is_spare=True)
    with pytest.raises(Held):
        await master.run(vm, CONFIG, asyncio.Event(), life=life)
    other.withdraw()
    assert life.who() == "master"
