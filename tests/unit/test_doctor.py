"""The parts of ``snsctl doctor`` that need no cluster."""

import compileall
import sys
import time
from pathlib import Path

import pytest

from snsnode import __version__
from snsnode.base import aside
from snsnode.base.ids import VmName
from snsnode.control import doctor_home, doctor_machine
from snsnode.control.doctor_store import filesystem
from snsnode.node.lock import Holder
from snsnode.node.paths import VmDir
from snsnode.node.process import me

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:20 / /proc rw - proc proc rw
24 22 0:41 / /srv/team\\040share rw,relatime - nfs4 files:/team rw
25 22 0:42 / /srv rw,relatime - tmpfs tmpfs rw
damaged
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [("/home/sns", "ext4"), ("/srv", "tmpfs"), ("/srv/team share/var", "nfs4"), ("/srv/team", "tmpfs")],
)
def test_filesystem_is_that_of_the_deepest_mount(place: str, kind: str) -> None:
    assert filesystem(Path(place), MOUNTS) == kind


@pytest.mark.parametrize(
    ("version", "bounds", "is_within"),
    [
        ("4.3.0", "<4.4,>=4.3", True),
        ("4.4", "<4.4,>=4.3", False),
        ("4.4.0", "<4.4,>=4.3", False),
        ("4.2.9", ">=4.3,<4.4", False),
        ("3.54.1.0", ">=3.51.3,<4", True),
        ("2.0rc1", ">=2,<3", True),
        ("1.0", "", True),
    ],
)
def test_version_is_held_against_its_bounds(version: str, bounds: str, is_within: bool) -> None:
    findings = list(doctor_machine._packages([f"nosuchpackage{bounds}"]))
    assert [finding.level for finding in findings] == ["FAIL"]
    assert doctor_machine._is_within(version, bounds) is is_within


def test_package_of_an_extra_is_not_asked_for() -> None:
    assert not list(doctor_machine._packages(["nosuchpackage>=1; extra == 'dev'"]))


def test_few_open_files_are_a_warning() -> None:
    assert doctor_machine._open_files(1024).level == "warn"
    assert doctor_machine._open_files(-1).detail == "up to any number"


def test_clock_that_was_never_set_is_a_warning() -> None:
    assert doctor_machine._clock(0.0).level == "warn"
    assert doctor_machine._clock(1.8e9).level == "ok"


def test_lock_table_that_cannot_be_read_fails(tmp_path: Path) -> None:
    assert doctor_machine._locks(tmp_path / "none").level == "FAIL"


def test_modules_that_each_process_compiles_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "one.py"
    module.write_text("")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = doctor_machine._compiled(tmp_path)
    assert (found.level, found.detail[:16]) == ("warn", "1 of snsnode's a")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert doctor_machine._compiled(tmp_path).level == "ok"  # the next process stores them
    compileall.compile_dir(tmp_path, quiet=1)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert doctor_machine._compiled(tmp_path).level == "ok"
    module.write_text("edited = True\n")
    assert doctor_machine._compiled(tmp_path).level == "warn"


def test_files_that_were_set_aside_are_a_warning(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    assert not list(doctor_home._damaged(VmName("vm2"), vm))
    for name in ("a", "b", "c", "d", "e", "f"):
        (vm.state / name).touch()
        aside.set_aside(vm.state / name, "it is empty")
    [finding] = doctor_home._damaged(VmName("vm2"), vm)
    assert finding.level == "warn"
    assert finding.detail.startswith("damaged files were set aside: state/a.damaged-1, ")
    assert finding.detail.endswith(" and 1 more")


def test_process_that_began_before_the_package_was_changed_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder(me(), version=__version__)
    for changed_s, told in ((time.time() - 1e6, False), (time.time() + 60, True)):
        monkeypatch.setattr(doctor_home, "_changed_s", lambda at_s=changed_s: at_s)
        finding = doctor_home._old_code(VmName("vm2"), "master", holder)
        assert (finding is not None and finding.level == "warn" and "restart --vm vm2" in finding.fix) is told
