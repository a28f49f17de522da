"""Epochs on disk: they only rise."""

import os
from pathlib import Path

import pytest

from snsnode.base.errors import Exhausted
from snsnode.base.ids import Epoch
from snsnode.node import epoch
from snsnode.node.paths import VmDir
from tests.full_disk import small_disk


@pytest.fixture
def vm(tmp_path: Path) -> VmDir:
    return VmDir(tmp_path / "vm2")


def test_a_new_folder_has_epoch_zero(vm: VmDir) -> None:
    assert epoch.read(vm) == 0


def test_an_epoch_is_remembered_and_never_falls(vm: VmDir) -> None:
    highest = 0
    for value in (1, 2, 2, 1, 9, 3, 0, 10, 9):
        epoch.record(vm, Epoch(value))
        highest = max(highest, value)
        assert epoch.read(vm) == highest


def test_a_large_epoch_fits(vm: VmDir) -> None:
    epoch.record(vm, Epoch(epoch.EPOCH_MAX))
    assert epoch.read(vm) == epoch.EPOCH_MAX


@pytest.mark.parametrize("damaged", [b"", b"\xff\xfe", b"x", b"-4", b"1.5", b"9" * 5000, b"7 7", b"%d" % 2**62])
def test_a_damaged_file_reads_as_zero_and_is_mended(vm: VmDir, damaged: bytes) -> None:
    vm.make()
    (vm.state / "epoch").write_bytes(damaged)
    assert epoch.read(vm) == 0
    epoch.record(vm, Epoch(5))
    assert epoch.read(vm) == 5


def test_an_epoch_rises_on_a_full_disk_too() -> None:
    with small_disk() as disk:
        vm = VmDir(disk.folder / "vm2")
        epoch.record(vm, Epoch(1))
        disk.fill()
        epoch.record(vm, Epoch(2))
        assert epoch.read(vm) == 2
        assert [file.name for file in vm.state.iterdir()] == ["epoch"]


def test_without_room_for_the_first_epoch_nobody_serves() -> None:
    with small_disk() as disk:
        vm = VmDir(disk.folder / "vm2")
        vm.make()
        disk.fill()
        with pytest.raises(Exhausted, match="No space left"):
            epoch.record(vm, Epoch(1))
        assert list(vm.state.iterdir()) == []


def test_a_read_only_disk_takes_no_epoch_and_keeps_the_last() -> None:
    with small_disk() as disk:
        vm = VmDir(disk.folder / "vm2")
        epoch.record(vm, Epoch(1))
        disk.freeze()
        with pytest.raises(Exhausted, match="Read-only file system") as refused:
            epoch.record(vm, Epoch(2))
        assert refused.value.exit_code == 1
        assert epoch.read(vm) == 1
        disk.thaw()
        epoch.record(vm, Epoch(2))
        assert epoch.read(vm) == 2


def test_a_folder_that_takes_no_file_takes_no_epoch(vm: VmDir) -> None:
    """As a broken disk, for whoever may mount none: the name that the new file needs is a folder's."""
    vm.make()
    (vm.state / f".epoch.{os.getpid()}.tmp").mkdir()
    with pytest.raises(Exhausted, match="cannot record epoch 1"):
        epoch.record(vm, Epoch(1))
    assert epoch.read(vm) == 0
