"""Where we have no descriptor, a look says nothing: neither dead, nor free, nor absent."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snsnode.base.ids import Epoch
from snsnode.node import budget, epoch, intent
from snsnode.node.config import Restart
from snsnode.node.lock import RoleLock, is_locked, live_holder, read_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import identify, is_alive, me, open_pidfd, send_signal, state_of
from snsnode.node.shortage import is_shortage, lacks_descriptors
from snsnode.router.probe import answers
from snsnode.supervisord.adoption import guarded
from tests.shortage import no_descriptors

RULE = Restart(intensity=5, period_s=10.0, backoff_max_s=10.0)


@pytest.fixture
def vm_dir(tmp_path: Path) -> VmDir:
    made = VmDir(tmp_path)
    made.make()
    return made


def held(vm_dir: VmDir) -> RoleLock:
    lock = RoleLock(vm_dir, "master")
    lock.take()
    lock.announce(epoch=7)
    epoch.record(vm_dir, Epoch(7))
    intent.mark_shutdown(vm_dir)
    budget.withdraw(vm_dir, RULE, "master", 0.5)
    return lock


LOOKS: dict[str, Callable[[VmDir], Any]] = {
    "identify": lambda _: identify(os.getppid()),
    "state": lambda _: state_of(me()),
    "alive": lambda _: is_alive(me()),
    "pidfd": lambda _: open_pidfd(me()),
    "signal": lambda _: send_signal(me(), 0),  # type: ignore[arg-type]
    "read holder": lambda vm_dir: read_holder(vm_dir, "master"),
    "live holder": lambda vm_dir: live_holder(vm_dir, "master"),
    "lock": lambda vm_dir: is_locked(vm_dir, "master"),
    "shutdown": intent.is_shutting_down,
    "epoch": epoch.read,
    "budget": budget.read,
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_without_a_descriptor_is_no_verdict(look: str, vm_dir: VmDir) -> None:
    lock = held(vm_dir)
    with no_descriptors():
        with pytest.raises(OSError) as raised:
            LOOKS[look](vm_dir)
        assert is_shortage(raised.value)
        assert raised.value.errno == errno.EMFILE
    LOOKS[look](vm_dir)
    lock.withdraw()


def test_a_lock_whose_file_was_lost_while_no_descriptor_was_free_is_taken_anew_later(vm_dir: VmDir) -> None:
    lock = held(vm_dir)
    vm_dir.lock("master").unlink()
    with no_descriptors(), pytest.raises(OSError):
        lock.keep()
    lock.keep()
    assert is_locked(vm_dir, "master")
    lock.withdraw()
    assert not is_locked(vm_dir, "master")


def test_what_is_held_is_kept_and_let_go_without_a_descriptor(vm_dir: VmDir) -> None:
    lock = held(vm_dir)
    with no_descriptors():
        lock.withdraw()
    assert not is_locked(vm_dir, "master")


async def test_a_router_that_cannot_ask_doubts_nobody() -> None:
    async def silent(target: str, within_s: float) -> bool:
        return False

    assert not await answers("127.0.0.1:1", 0.01, silent)
    with no_descriptors():
        assert await answers("127.0.0.1:1", 0.01, silent)


def test_supervisord_is_told_of_a_shortage_in_one_line() -> None:
    said: list[str] = []

    class Logger:
        def error(self, line: str) -> None:
            said.append(line)

    with no_descriptors():
        assert not guarded(Logger(), "look", lambda: state_of(me()))
    assert len(said) == 1 and "\n" not in said[0] and "Too many open files" in said[0]


def test_dead_is_still_dead_and_a_shortage_is_told_from_all_else() -> None:
    child = subprocess.Popen(["true"])
    identity = identify(child.pid)
    child.wait()
    assert identity is None or not is_alive(identity)
    assert not lacks_descriptors()
    with no_descriptors():
        assert lacks_descriptors()
    assert not is_shortage(FileNotFoundError(errno.ENOENT, "x"))
    assert not is_shortage(ValueError())
