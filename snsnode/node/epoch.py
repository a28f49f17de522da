"""The epoch of a VM's server: a durable counter that only rises.

Each incarnation of a master has an epoch of its own; routers and the store refuse whatever carries an older
one. Written only by the process that holds the master's lock.
"""

from pathlib import Path

from snsnode.base import aside, fields, reading
from snsnode.base.errors import Exhausted
from snsnode.base.ids import Epoch
from snsnode.node.durable import write_record
from snsnode.node.paths import VmDir
from snsnode.node.shortage import is_shortage

EPOCH_MAX = 2**62 - 1
LEAP_MAX = 1000  # our file may be so far above the store, which was restored or was full; a larger gap is damage


def read(vm_dir: VmDir) -> Epoch:
    """Return the highest epoch that was used here, 0 where none was.

    A damaged file reads as 0: the store's and the routers' memory raise it again.
    """
    try:
        return _read(vm_dir)
    except (OSError, reading.Damaged) as error:
        if is_shortage(error):
            raise
        return Epoch(0)


def take(vm_dir: VmDir) -> Epoch:
    """Return the same, and set a damaged file aside; for the holder of the master's lock alone."""
    try:
        return _read(vm_dir)
    except reading.Damaged as error:
        aside.set_aside(_file(vm_dir), str(error))
    except OSError as error:
        if is_shortage(error):
            raise
    return Epoch(0)


def is_beyond_belief(own: Epoch, stored: Epoch) -> bool:
    """Tell whether our file is so far above the store that it must be damaged.

    If it was right and the store was set back, the routers know the epoch too: they refuse a lower one, and say
    which one we must exceed.
    """
    return own > stored + LEAP_MAX


def disbelieve(vm_dir: VmDir, own: Epoch, stored: Epoch) -> None:
    """Set our file aside: the store's ``stored`` shows that its epoch ``own`` is wrong."""
    aside.set_aside(_file(vm_dir), f"epoch {own} is far above the store's {stored}")


def record(vm_dir: VmDir, epoch: Epoch) -> None:
    """Make ``epoch`` the highest one used, durably, unless it is already.

    Raises:
        Exhausted: the disk is full, read-only or broken. A master without an epoch must not serve. The exit code
            does not blame its configuration, so its partner tries again, slower and slower.
    """
    if epoch <= read(vm_dir):
        return
    try:
        vm_dir.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_record(_file(vm_dir), f"{epoch}\n", fsync=True)
    except OSError as error:
        raise Exhausted(
            f"cannot record epoch {epoch} in {_file(vm_dir)}: {error.strerror}; a master serves only under a "
            "recorded epoch: make the disk writable, it is tried again"
        ) from None


def _read(vm_dir: VmDir) -> Epoch:
    try:
        words = reading.read_text(_file(vm_dir))
    except FileNotFoundError:
        return Epoch(0)
    return Epoch(fields.parse_whole(words, "the epoch", 0, EPOCH_MAX))


def _file(vm_dir: VmDir) -> Path:
    return vm_dir.state / "epoch"
