"""The epoch of a VM's server: a durable counter that only rises.

Each incarnation of a master has an epoch of its own; routers and the store refuse whatever carries an older
one. Written only by the process that holds the master's lock.
"""

from pathlib import Path

from snsnode.base.errors import Exhausted
from snsnode.base.ids import Epoch
from snsnode.node.durable import write_record
from snsnode.node.paths import VmDir


def read(vm_dir: VmDir) -> Epoch:
    """Return the highest epoch that was used here, 0 where none was.

    A damaged file reads as 0: the store's and the routers' memory raise it again.
    """
    try:
        return Epoch(max(0, int(_file(vm_dir).read_text())))
    except (OSError, ValueError):
        return Epoch(0)


def record(vm_dir: VmDir, epoch: Epoch) -> None:
    """Make ``epoch`` the highest one used, durably, unless it is already.

    Raises:
        Exhausted: the disk is full, read-only or broken. A master without an epoch must not serve; that nothing
            is wrong with its configuration says the exit code: its partner tries again, slower and slower.
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


def _file(vm_dir: VmDir) -> Path:
    return vm_dir.state / "epoch"
