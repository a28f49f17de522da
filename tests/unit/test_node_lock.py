"""The lock of a role, taken by real processes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from snsnode.base.errors import Held
from snsnode.node import lock as lock_module
from snsnode.node.lock import Holder, RoleLock, is_locked, live_holder, read_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import boot_id, is_alive, me
from tests.eventually import eventually
from tests.full_disk import small_disk
from tests.processes import STEP_S, Sleeper, sleeper

_TAKE = """
from pathlib import Path
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
lock = RoleLock(VmDir(Path(sys.argv[1])), "master")
lock.take()
lock.announce(epoch=7, config="digest")
hold()
lock.withdraw()
"""


@pytest.fixture
def vm(tmp_path: Path) -> VmDir:
    return VmDir(tmp_path / "vm2")


@contextmanager
def taken(vm: VmDir) -> Iterator[RoleLock]:
    lock = RoleLock(vm, "master")
    lock.take(within_s=STEP_S)
    try:
        yield lock
    finally:
        lock.withdraw()


def holder_process(vm: VmDir) -> AbstractContextManager[Sleeper]:
    return sleeper(_TAKE, str(vm.path))


def test_the_second_taker_is_told_who_has_it(vm: VmDir) -> None:
    with holder_process(vm) as holder:
        with pytest.raises(Held) as refused:
            RoleLock(vm, "master").take()
        assert refused.value.message == (
            f"cannot start a second master of vm2: process {holder.process.pid} holds master.lock"
        )


def test_other_roles_have_locks_of_their_own(vm: VmDir) -> None:
    with holder_process(vm):
        lock = RoleLock(vm, "slave")
        lock.take()
        lock.withdraw()


def test_the_second_taker_waits_as_long_as_it_was_told(vm: VmDir) -> None:
    with holder_process(vm):
        began_s = time.monotonic()
        with pytest.raises(Held):
            RoleLock(vm, "master").take(within_s=0.2)
        assert 0.2 <= time.monotonic() - began_s < STEP_S


def test_a_killed_holder_lets_go_at_once(vm: VmDir) -> None:
    with holder_process(vm) as holder:
        holder.process.kill()
        began_s = time.monotonic()
        with taken(vm):  # waits for nothing but the kernel
            assert time.monotonic() - began_s < STEP_S


def test_a_stopped_holder_holds_on(vm: VmDir) -> None:
    with holder_process(vm) as holder:
        holder.signal(signal.SIGSTOP, "T")
        with pytest.raises(Held):
            RoleLock(vm, "master").take()


def test_of_many_takers_one_wins(vm: VmDir) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom snsnode.node.lock import RoleLock\n"
        "from snsnode.node.paths import VmDir\nfrom snsnode.base.errors import Held\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "try:\n    RoleLock(VmDir(Path(sys.argv[1])), 'master').take()\n    print('won', flush=True)\n"
        "except Held:\n    print('lost', flush=True)\nsys.stdin.read()\n"
    )
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(vm.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    try:
        words = []
        for taker in takers:
            assert taker.stdout is not None
            assert taker.stdout.readline() == "ready\n"
        for taker in takers:
            assert taker.stdin is not None
            taker.stdin.write("go\n")
            taker.stdin.flush()
        for taker in takers:
            assert taker.stdout is not None
            words.append(taker.stdout.readline().strip())
        assert sorted(words) == ["lost", "lost", "lost", "won"]
    finally:
        for taker in takers:
            taker.kill()
            taker.communicate(timeout=STEP_S)


def test_what_the_holder_launches_does_not_inherit_the_lock(vm: VmDir) -> None:
    launch = (
        "import subprocess\nheir = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
        "Path(sys.argv[2]).write_text(str(heir.pid))\n"
    )
    program = _TAKE.replace("hold()", f"{launch}hold()")
    with sleeper(program, str(vm.path), str(vm.path / "heir")) as holder:
        heir = int((vm.path / "heir").read_text())
        holder.process.kill()
        try:
            with taken(vm):
                assert Path(f"/proc/{heir}").exists()
        finally:
            subprocess.run(["kill", "-9", str(heir)], check=True)


def test_the_pid_file_names_the_holder(vm: VmDir) -> None:
    with holder_process(vm) as holder:
        assert live_holder(vm, "master") == Holder(holder.identity, 7, "digest")
        assert vm.pid("master").read_text().splitlines()[0] == str(holder.process.pid)


def test_announcing_again_replaces(vm: VmDir) -> None:
    with taken(vm) as lock:
        lock.announce(epoch=1)
        lock.announce(epoch=2, config="x")
        assert live_holder(vm, "master") == Holder(me(), 2, "x")


def test_a_role_is_held_since_it_was_taken_and_not_since_its_process_began(vm: VmDir) -> None:
    eventually(lambda: me().uptime_s > 0.5, within_s=STEP_S)
    began_s = time.monotonic()
    with taken(vm) as lock:
        lock.announce()
        found = live_holder(vm, "master")
        assert found is not None
        assert found.uptime_s < time.monotonic() - began_s + 0.1
        first_s = found.since_s
        lock.announce(epoch=2)  # later news changes nothing
        again = live_holder(vm, "master")
        assert again is not None and again.since_s == first_s


def test_a_pid_file_without_that_time_tells_the_age_of_the_process(vm: VmDir) -> None:
    vm.make()
    rest = {"start_ticks": me().start_ticks, "boot_id": boot_id(), "epoch": 3, "config": "x"}
    vm.pid("master").write_text(f"{me().pid}\n{json.dumps(rest)}\n")
    found = live_holder(vm, "master")
    assert found is not None and found.uptime_s == pytest.approx(me().uptime_s, abs=0.2)


def test_the_pid_file_of_a_killed_holder_is_read_but_not_believed(vm: VmDir) -> None:
    with holder_process(vm) as holder:
        holder.process.kill()
        holder.process.wait(STEP_S)
        found = read_holder(vm, "master")
        assert found is not None and found.identity == holder.identity
        assert live_holder(vm, "master") is None


def test_a_zombie_holds_nothing(vm: VmDir) -> None:
    with holder_process(vm) as holder:
        holder.process.kill()
        eventually(lambda: holder.state == "Z", within_s=STEP_S)
        assert live_holder(vm, "master") is None
        with taken(vm):
            pass


@pytest.mark.parametrize("what", [{"start_ticks": 1}, {"boot_id": "another"}])
def test_a_stale_pid_file_with_a_recycled_pid_is_not_believed(vm: VmDir, what: dict[str, object]) -> None:
    vm.make()
    mine = me()
    rest = {"start_ticks": mine.start_ticks, "boot_id": boot_id(), "epoch": 3, "config": "x"}
    vm.pid("master").write_text(f"{mine.pid}\n{json.dumps(rest)}\n")
    assert live_holder(vm, "master") == Holder(mine, 3, "x")
    vm.pid("master").write_text(f"{mine.pid}\n{json.dumps(rest | what)}\n")
    assert live_holder(vm, "master") is None


@pytest.mark.parametrize(
    "text", ["", "12", "x\n{}", "1\n5", "1\n[]", '1\n{"start_ticks": Infinity, "boot_id": "b"}', "\0\n\0", "1\n{"]
)
def test_a_damaged_pid_file_names_nobody(vm: VmDir, text: str) -> None:
    vm.make()
    vm.pid("master").write_text(text)
    assert read_holder(vm, "master") is None
    with taken(vm) as lock:
        lock.announce()
        assert live_holder(vm, "master") is not None


def test_withdrawn_leaves_no_pid_file_and_no_lock(vm: VmDir) -> None:
    with taken(vm) as lock:
        lock.announce()
        assert is_locked(vm, "master")
        lock.withdraw()
        lock.withdraw()
        assert not vm.pid("master").exists()
        assert not is_locked(vm, "master")
        with taken(vm):
            lock.withdraw()
            assert is_locked(vm, "master")


def test_withdrawing_without_having_taken_touches_nothing(vm: VmDir) -> None:
    with holder_process(vm) as holder:
        loser = RoleLock(vm, "master")
        with pytest.raises(Held):
            loser.take()
        loser.withdraw()
        found = live_holder(vm, "master")
        assert found is not None and found.identity == holder.identity


def test_a_probe_sees_the_lock_and_never_takes_it(vm: VmDir) -> None:
    assert not is_locked(vm, "master")
    with holder_process(vm) as holder:
        assert is_locked(vm, "master")
        assert not is_locked(vm, "slave")
        holder.process.kill()
        eventually(lambda: not is_locked(vm, "master"), within_s=STEP_S)


def test_a_successor_announces_itself_on_a_full_disk() -> None:
    with small_disk() as disk:
        vm = VmDir(disk.folder / "vm2")
        with holder_process(vm) as holder:
            holder.process.kill()
            holder.process.wait(STEP_S)
            disk.fill()
            with taken(vm) as lock:
                lock.announce(epoch=8)
                assert live_holder(vm, "master") == Holder(me(), 8)
                assert not is_alive(dataclasses.replace(holder.identity))


def test_a_lock_on_another_disk_is_not_taken_for_ours() -> None:
    """Two new disks number their files alike."""
    with small_disk() as one, small_disk() as other:
        ours, foreign = VmDir(one.folder / "vm2"), VmDir(other.folder / "vm2")
        with taken(ours) as lock:
            lock.withdraw()  # the file stays
        with taken(foreign):
            assert ours.lock("master").stat().st_ino == foreign.lock("master").stat().st_ino
            assert is_locked(foreign, "master")
            assert not is_locked(ours, "master")


def test_the_device_is_the_one_of_the_mount_where_stat_shows_another(
    vm: VmDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on btrfs, whose subvolumes have devices of their own for stat(2) alone."""
    with taken(vm):
        descriptor = os.open(vm.lock("master"), os.O_RDONLY)
        found = os.fstat(descriptor)
        assert lock_module._device(descriptor) == (os.major(found.st_dev), os.minor(found.st_dev))
        os.close(descriptor)
        monkeypatch.setattr(lock_module, "_device", lambda descriptor: None)  # a mount that is not in our table
        assert is_locked(vm, "master")
        monkeypatch.setattr(lock_module, "_device", lambda descriptor: (4095, 7))
        assert not is_locked(vm, "master")


def test_lines_of_the_kernels_table() -> None:
    table = (
        "1: FLOCK  ADVISORY  WRITE 4134 fe:00:77 0 EOF\n"
        "2: POSIX  ADVISORY  READ 4134 fe:01:77 128 128\n"
        "3: FLOCK  ADVISORY  WRITE 4134 00:1b:77 0 EOF\n"
        "3: -> FLOCK  ADVISORY  WRITE 4135 00:1c:77 0 EOF\n"
        "4: FLOCK  ADVISORY  WRITE 4134 fe:00:777 0 EOF\n"
    )
    assert lock_module._devices_locked(table, 77) == {(0xFE, 0), (0, 0x1B)}
    assert lock_module._devices_locked(table, 7) == set()


def test_lost_or_damaged_pid_file_is_written_again(vm: VmDir) -> None:
    with taken(vm) as lock:
        lock.keep()
        assert not vm.pid("master").exists()  # nothing was announced yet
        lock.announce(epoch=7, config="digest")
        vm.pid("master").unlink()
        lock.keep()
        assert live_holder(vm, "master") == Holder(me(), 7, "digest")
        vm.pid("master").write_text("")
        lock.keep()
        assert live_holder(vm, "master") == Holder(me(), 7, "digest")
