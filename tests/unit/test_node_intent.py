"""What an operator wants, and how long it holds."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from snsnode.node import intent
from snsnode.node.config import PARTNERS, RoleName
from snsnode.node.paths import VmDir
from snsnode.node.process import me
from tests.processes import STEP_S, sleeper

ROLES: tuple[RoleName, ...] = ("router", *PARTNERS)


@pytest.fixture
def vm(tmp_path: Path) -> VmDir:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    return vm


def stopped(vm: VmDir) -> set[str]:
    return {role for role in ROLES if intent.is_stopped(vm, role)}


@pytest.mark.parametrize(
    ("started", "left"),
    [("slave", {"router"}), ("master", {"router", "slave"}), ("router", {"slave", "master"})],
)
def test_a_start_clears_what_it_overrides(vm: VmDir, started: RoleName, left: set[str]) -> None:
    for role in ROLES:
        intent.stop(vm, role)
    assert stopped(vm) == set(ROLES)
    intent.start(vm, started)
    assert stopped(vm) == left


def test_start_without_a_stop_and_stop_twice_are_nothing(vm: VmDir) -> None:
    intent.start(vm, "slave")
    intent.stop(vm, "slave")
    intent.stop(vm, "slave")
    assert stopped(vm) == {"slave"}


def test_a_stop_is_recorded_in_a_folder_that_was_wiped(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    intent.stop(vm, "master")
    intent.pause(vm)
    assert intent.is_stopped(vm, "master") and intent.is_paused(vm)


def test_a_stop_survives_a_reboot(vm: VmDir) -> None:
    intent.stop(vm, "master")
    for file in vm.run.iterdir():
        file.unlink()
    assert not intent.may_start(vm, "master")


def test_a_stopped_role_must_not_run_and_its_partner_may(vm: VmDir) -> None:
    intent.stop(vm, "master")
    assert intent.must_not_run(vm, "master") and not intent.may_start(vm, "master")
    assert not intent.must_not_run(vm, "slave") and intent.may_start(vm, "slave")


def test_a_pause_suspends_starting_and_stops_nobody(vm: VmDir) -> None:
    intent.pause(vm)
    intent.pause(vm)
    for role in ROLES:
        assert not intent.may_start(vm, role)
        assert not intent.must_not_run(vm, role)
    intent.resume(vm)
    intent.resume(vm)
    assert all(intent.may_start(vm, role) for role in ROLES)


def test_a_start_does_not_end_a_pause(vm: VmDir) -> None:
    intent.pause(vm)
    intent.start(vm, "slave")
    assert intent.is_paused(vm)


_MARK = """
from pathlib import Path
from snsnode.node import intent
from snsnode.node.paths import VmDir
intent.mark_shutdown(VmDir(Path(sys.argv[1])))
hold()
"""


def test_a_shutdown_counts_only_while_its_supervisord_lives(vm: VmDir) -> None:
    with sleeper(_MARK, str(vm.path)) as supervisord:
        assert intent.is_shutting_down(vm)
        assert all(intent.must_not_run(vm, role) for role in ROLES)
        supervisord.signal(signal.SIGSTOP, "T")
        assert intent.is_shutting_down(vm)
        supervisord.process.kill()
        supervisord.process.wait(STEP_S)
        assert not intent.is_shutting_down(vm)
        assert all(intent.may_start(vm, role) for role in ROLES)
        assert stopped(vm) == set()


@pytest.mark.parametrize(
    "wrong", [lambda p, s, b: (p, s + 1, b), lambda p, s, b: (p, s, "x"), lambda p, s, b: (p, s)]
)
def test_a_stale_shutdown_mark_is_not_believed(vm: VmDir, wrong: Callable[..., tuple[object, ...]]) -> None:
    intent.mark_shutdown(vm)
    assert intent.is_shutting_down(vm)
    mine = me()
    (vm.run / "shutdown").write_text(" ".join(map(str, wrong(mine.pid, mine.start_ticks, mine.boot_id))))
    assert not intent.is_shutting_down(vm)


def test_a_shutdown_can_be_taken_back(vm: VmDir) -> None:
    intent.mark_shutdown(vm)
    intent.clear_shutdown(vm)
    intent.clear_shutdown(vm)
    assert not intent.is_shutting_down(vm)


def test_a_drain_holds_until_it_is_undone_whatever_is_started(vm: VmDir) -> None:
    assert not intent.is_drained(vm)
    intent.undrain(vm)
    intent.drain(vm)
    intent.drain(vm)
    for role in ROLES:
        intent.start(vm, role)
    intent.resume(vm)
    assert intent.is_drained(VmDir(vm.path))
    assert intent.may_start(vm, "master")
    intent.undrain(vm)
    assert not intent.is_drained(vm)


def test_stop_that_was_taken_back_is_told_of_those_who_ran_before_it_alone(vm: VmDir) -> None:
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME) - 1.0
    assert not intent.was_stopped(vm, "master", before_s, 5.0)
    intent.start(vm, "master")  # nobody had stopped it
    assert not intent.was_stopped(vm, "master", before_s, 5.0)
    intent.stop(vm, "master")
    assert not intent.was_stopped(vm, "master", before_s, 5.0)
    intent.start(vm, "master")
    assert intent.was_stopped(vm, "master", before_s, 5.0)
    assert not intent.was_stopped(vm, "master", before_s, 0.0)
    assert not intent.was_stopped(vm, "master", before_s + 60.0, 5.0)
    assert not intent.was_stopped(vm, "slave", before_s, 5.0)
