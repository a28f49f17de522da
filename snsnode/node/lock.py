"""One live process for each role: an exclusive flock held for life, and a pid file that names the holder.

The lock is the truth: the kernel releases it with the process. The pid file says who holds it, and is only
believed while that very process lives.
"""

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from snsnode import __version__
from snsnode.base import aside, fields, reading
from snsnode.base.errors import Held
from snsnode.node.durable import write_record
from snsnode.node.epoch import EPOCH_MAX
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, is_alive, me
from snsnode.node.shortage import is_shortage

_RETRY_S = 0.005
_SINCE_MAX_S = 1e9  # of a boot that lasts thirty years
SILENT_VERSION = "0.1.0"  # the last release that does not write its version into its pid file


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a role: a master's ``epoch`` (else 0), and the digest of the configuration it runs with.

    ``since_s`` is when it took the role, in seconds of CLOCK_BOOTTIME: a spare is a process long before.
    """

    identity: Identity
    epoch: int = 0
    config: str = ""
    since_s: float = field(default=0.0, compare=False)
    version: str = field(default=SILENT_VERSION, compare=False)  # of snsnode

    @property
    def uptime_s(self) -> float:
        """Seconds since it took the role; never more than its process has lived."""
        uptime_s = min(time.clock_gettime(time.CLOCK_BOOTTIME) - self.since_s, self.identity.uptime_s)
        return max(0.0, uptime_s)


class RoleLock:
    """The lock of one role, taken by ``take`` and held until the process ends."""

    def __init__(self, vm_dir: VmDir, name: str) -> None:
        self._vm_dir = vm_dir
        self.name = name
        self._descriptor = -1
        self._epoch, self._config = 0, ""
        self._since_s = 0.0
        self._announced = False

    def take(self, within_s: float = 0.0) -> None:
        """Take the lock, waiting at most ``within_s`` for a dying holder.

        Raises:
            Held: a live process has it; the message names it.
        """
        self._vm_dir.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.clear_way(self._vm_dir.lock(self.name))
        # Close-on-exec, as all of Python's descriptors: what we launch must not inherit the lock.
        descriptor = os.open(self._vm_dir.lock(self.name), os.O_RDWR | os.O_CREAT, 0o600)
        until_s = time.monotonic() + within_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._descriptor = descriptor
                self._since_s = self._since_s or time.clock_gettime(time.CLOCK_BOOTTIME)
                return
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    os.close(descriptor)
                    raise Held(self._held_message()) from None
                time.sleep(_RETRY_S)
            except OSError:
                os.close(descriptor)
                raise

    def announce(self, *, epoch: int = 0, config: str = "") -> None:
        """Write the pid file: this process holds the role. May be called again with other values."""
        identity = me()
        self._epoch, self._config, self._announced = epoch, config, True
        rest = {
            "start_ticks": identity.start_ticks,
            "boot_id": identity.boot_id,
            "epoch": epoch,
            "config": config,
            "since_s": round(self._since_s, 2),
            "version": __version__,
        }
        write_record(self._vm_dir.pid(self.name), f"{identity.pid}\n{json.dumps(rest)}\n", fsync=False)

    def keep(self) -> None:
        """Take the lock anew where its file was removed or replaced: a lock on a lost file keeps nobody out.

        Also write a missing or damaged pid file anew: without it nobody can find the holder, and so nobody
        watches or stops it.

        Raises:
            Held: another process has taken the new file's lock meanwhile.
        """
        if self._descriptor < 0:
            return
        if self._is_in_place():
            if self._announced and not self._is_announced():
                with contextlib.suppress(OSError):  # a full disk; the next look tries again
                    self.announce(epoch=self._epoch, config=self._config)
            return
        lost = self._descriptor
        self.take()  # where no descriptor is free, the next look tries again
        os.close(lost)
        self.announce(epoch=self._epoch, config=self._config)

    def _is_announced(self) -> bool:
        path = self._vm_dir.pid(self.name)
        try:
            found = _read(path)
            return (found.identity, found.epoch) == (me(), self._epoch)
        except reading.Damaged as error:
            aside.set_aside(path, str(error))
        except OSError:
            pass
        return False

    def _is_in_place(self) -> bool:
        try:
            there = self._vm_dir.lock(self.name).stat()
        except OSError:
            return False
        held = os.fstat(self._descriptor)
        return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)

    def withdraw(self) -> None:
        """Remove our pid file and release the lock; safe to call twice."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            found = read_holder(self._vm_dir, self.name)
            if found is not None and found.identity.pid == os.getpid():
                self._vm_dir.pid(self.name).unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def _held_message(self) -> str:
        found = live_holder(self._vm_dir, self.name)
        who = f"process {found.identity.pid}" if found else "another process"
        return f"cannot start a second {self.name} of {self._vm_dir.path.name}: {who} holds {self.name}.lock"


def read_holder(vm_dir: VmDir, name: str) -> Holder | None:
    """Return what the pid file says, whether or not that process lives; None without a readable file."""
    return _parse(vm_dir.pid(name))


def live_holder(vm_dir: VmDir, name: str) -> Holder | None:
    """Return the live process that holds role ``name``, None where there is none (or it is just starting)."""
    found = read_holder(vm_dir, name)
    return found if found is not None and is_alive(found.identity) else None


def is_locked(vm_dir: VmDir, name: str) -> bool:
    """Tell whether any process holds the lock.

    It is never taken for that: a probe that took it, however briefly, could make a starter fail. The kernel's
    table is read instead, and a line of it believed that names the file's inode *and* device. On ext4, xfs, tmpfs
    and most others that is the device of stat(2). btrfs and overlayfs show stat(2) another one than the table,
    which /proc/self/mountinfo knows; where it is not there (a mount of another namespace), the inode decides, and
    a lock on a file of equal inode elsewhere is taken for this one. On overlayfs over several file systems
    stat(2) may show another inode too: fdinfo's is used, which kernels have since 5.14.
    """
    try:
        descriptor = os.open(vm_dir.lock(name), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if is_shortage(error):
            raise
        return False
    try:
        found = _devices_locked(Path("/proc/locks").read_text(), _inode(descriptor))
        return bool(found) and (_device(descriptor) or next(iter(found))) in found
    except OSError as error:
        if is_shortage(error):
            raise
        return False
    finally:
        os.close(descriptor)


Device = tuple[int, int]  # major, minor


def _devices_locked(table: str, inode: int) -> set[Device]:
    """Return the devices on which a file with this inode number is flocked.

    1: FLOCK  ADVISORY  WRITE 4242 fd:01:1310735 0 EOF     (proc_locks(5)); "->" marks one that waits
    """
    found: set[Device] = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK":
            major, minor, number = fields[5].split(":")
            if int(number) == inode:
                found.add((int(major, 16), int(minor, 16)))
    return found


def _inode(descriptor: int) -> int:
    """Return the inode number that the kernel's table gives to an open file."""
    return int(_fdinfo(descriptor).get("ino", os.fstat(descriptor).st_ino))


def _device(descriptor: int) -> Device | None:
    """Return the device that the kernel's table gives to an open file; None where that cannot be told."""
    mount = _fdinfo(descriptor).get("mnt_id")
    # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw      (proc_pid_mountinfo(5))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[0] == mount:
            major, minor = fields[2].split(":")
            return int(major), int(minor)
    return None


def _fdinfo(descriptor: int) -> dict[str, str]:
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _parse(path: Path) -> Holder | None:
    try:
        return _read(path)
    except (OSError, reading.Damaged) as error:
        if is_shortage(error):
            raise  # we do not know now whether anybody holds the role
        return None


def _read(path: Path) -> Holder:
    first, _, rest = reading.read_text(path).partition("\n")
    more = reading.parse_object(rest)
    identity = Identity(
        fields.parse_whole(first, "the pid", 1, fields.PID_MAX),
        fields.whole(more, "start_ticks"),
        fields.text(more, "boot_id", 64),
    )
    since_s = fields.real(more, "since_s", 0, _SINCE_MAX_S) if "since_s" in more else 0.0
    version = fields.text(more, "version", 64) if "version" in more else SILENT_VERSION
    epoch = fields.whole(more, "epoch", 0, EPOCH_MAX)
    return Holder(identity, epoch, fields.text(more, "config", 64), since_s, version)
