"""Reading and writing the home."""

import errno
import os
from pathlib import Path

import pytest

from snsnode.base.errors import ConfigError, Exhausted, SnsError
from snsnode.base.ids import VmName
from snsnode.render import disk
from snsnode.render.plan import Change

VM1, VM2 = VmName("vm1"), VmName("vm2")
NEW = [Change("vm1/node.json", None, "one\n"), Change("vm2/node.json", None, "two\n")]


def everything(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_home_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert disk.read(tmp_path / "none") == {}


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    home = tmp_path / "a b" / "var"
    disk.write(home, NEW, [VM1, VM2])
    assert disk.read(home) == {"vm1/node.json": "one\n", "vm2/node.json": "two\n"}
    assert everything(home) == {"vm1/node.json": b"one\n", "vm2/node.json": b"two\n"}


def test_folders_and_files_are_for_this_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "var"
    disk.write(home, NEW, [VM1, VM2])
    folders = [home, *(home / "vm1" / name for name in (".", "run", "log", "state"))]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    assert (home / "vm1" / "node.json").stat().st_mode & 0o777 == 0o600


def test_folders_are_made_where_no_file_changes(tmp_path: Path) -> None:
    disk.write(tmp_path, [], [VM1])
    assert (tmp_path / "vm1" / "log").is_dir()


def test_removed_file_goes_and_may_be_gone(tmp_path: Path) -> None:
    disk.write(tmp_path, [Change("vm1/retired", None, "x\n")], [VM1])
    for _ in range(2):
        disk.write(tmp_path, [Change("vm1/retired", "x\n", None)], [VM1])
        assert everything(tmp_path) == {}


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "vm1").mkdir()
    dead, alive = 4_194_304, os.getppid()  # the first is above the kernel's largest pid
    for name in (f".node.json.{dead}.ab_1.tmp", f".node.json.{alive}.ab_1.tmp", f".mine.{dead}.ab_1.tmp"):
        (tmp_path / "vm1" / name).write_text("")
    disk.write(tmp_path, [], [])
    assert set(everything(tmp_path)) == {f"vm1/.node.json.{alive}.ab_1.tmp", f"vm1/.mine.{dead}.ab_1.tmp"}


def test_bytes_that_are_no_text_differ_from_every_text(tmp_path: Path) -> None:
    (tmp_path / "vm1").mkdir()
    (tmp_path / "vm1" / "node.json").write_bytes(b"\xff\r\n")
    assert disk.read(tmp_path) == {"vm1/node.json": "\udcff\r\n"}


def test_other_files_of_the_home_are_not_read(tmp_path: Path) -> None:
    for path in ("sns.db", "Backup/node.json", "vm1/log/node.json", "vm1/node.json.bak"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    assert disk.read(tmp_path) == {}


@pytest.mark.parametrize("failing_call", [1, 2])
def test_full_disk_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int
) -> None:
    disk.write(tmp_path, NEW[:1], [VM1])
    before = everything(tmp_path)
    calls = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exhausted, match=r"cannot write .*: No space left on device"):
        disk.write(tmp_path, [Change("vm1/node.json", "one\n", "changed\n"), *NEW[1:]], [VM1, VM2])
    assert everything(tmp_path) == before
    assert not (tmp_path / "vm2").exists()


def test_every_byte_is_on_the_disk_before_a_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        events.append("fsync")
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        events.append("replace")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    disk.write(tmp_path, NEW, [VM1, VM2])
    assert events[:4] == ["fsync", "fsync", "replace", "replace"]
    assert events[4:].count("fsync") >= 3  # both folders, and the home that holds their names


def test_file_in_the_way_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "vm1").write_text("in the way")
    with pytest.raises(SnsError, match=r"cannot write .*vm1"):
        disk.write(tmp_path, NEW, [VM1, VM2])
    (tmp_path / "vm1").unlink()
    (tmp_path / "vm1" / "node.json").mkdir(parents=True)
    assert disk.read(tmp_path)["vm1/node.json"] not in [change.after for change in NEW]
    disk.write(tmp_path, NEW, [VM1, VM2])
    assert (tmp_path / "vm1" / "node.json").is_file()
    with pytest.raises(SnsError, match=r"cannot read .*file: Not a directory"):
        (tmp_path / "file").write_text("")
        disk.read(tmp_path / "file")


def home_whose_socket_has(size: int) -> Path:
    return Path("/" + "x" * (size - len("//vm1/run/supervisor.sock")))


def test_socket_path_may_have_99_bytes() -> None:
    disk.check_home(home_whose_socket_has(99), [VM1])
    with pytest.raises(
        ConfigError, match=r"has 100 bytes, the limit is 99; give a --home that is at least 1 bytes"
    ):
        disk.check_home(home_whose_socket_has(100), [VM1])


def test_socket_path_is_measured_in_bytes_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="limit is 99"):
        disk.check_home(Path("ä" * 45), [VM1])
    disk.check_home(Path(), [])


@pytest.mark.parametrize("name", ["50%", "a\nb"])
def test_home_that_supervisord_cannot_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="supervisord takes no '%' and no control characters"):
        disk.check_home(Path("/tmp") / name, [VM1])
