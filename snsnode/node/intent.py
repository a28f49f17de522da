"""What an operator wants: durable stop intents, a pause, a drain, and supervisord's passing wish to shut down.

A stop intent is written *before* anything is signalled and is honoured by the partner, the spare and
supervisord's plug-in, so that nothing brings a stopped role back before somebody starts it again. The shutdown
mark is no intent: it counts only while the supervisord that wrote it lives, and records nothing for later.
"""

import contextlib
import time
from pathlib import Path

from snsnode.base import aside, fields, reading
from snsnode.node.config import PARTNERS, RoleName
from snsnode.node.durable import sync_folder, write_text
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, is_alive, me
from snsnode.node.shortage import is_shortage


def stop(vm_dir: VmDir, role: RoleName) -> None:
    """Record that ``role`` shall stay stopped, also over a reboot."""
    _put(_stop_file(vm_dir, role))


def start(vm_dir: VmDir, role: RoleName) -> None:
    """Clear the intent that a start of ``role`` overrides: a slave's start clears both partners'."""
    for cleared in PARTNERS if role == "slave" else (role,):
        clear(vm_dir, cleared)


def clear(vm_dir: VmDir, role: RoleName) -> None:
    """Clear the intent of ``role`` alone, and leave word of when that was."""
    if is_stopped(vm_dir, role):
        with contextlib.suppress(OSError):  # the journal alone would be wrong without it
            write_text(_word_file(vm_dir, role), f"{_now_s()!r}\n", fsync=False)
    _remove(_stop_file(vm_dir, role))


def was_stopped(vm_dir: VmDir, role: RoleName, since_s: float, within_s: float) -> bool:
    """Tell whether a stop of ``role`` was taken back after ``since_s`` (CLOCK_BOOTTIME) and ``within_s`` from now.

    For a watcher that got no turn between the stop and the start, and finds an incarnation of ``since_s`` dead.
    """
    try:
        at_s = float(reading.read_text(_word_file(vm_dir, role)))
    except (OSError, ValueError) as error:
        if is_shortage(error):
            raise
        return False
    return since_s < at_s <= _now_s() < at_s + within_s


def is_stopped(vm_dir: VmDir, role: RoleName) -> bool:
    """Tell whether an operator stopped ``role`` and nobody started it since."""
    return _stop_file(vm_dir, role).exists()


def pause(vm_dir: VmDir) -> None:
    """Suspend all restarting of this VM's pair."""
    _put(_pause_file(vm_dir))


def resume(vm_dir: VmDir) -> None:
    """End the pause."""
    _remove(_pause_file(vm_dir))


def drain(vm_dir: VmDir) -> None:
    """Keep clients away from this VM's server, whichever incarnation; it runs on."""
    _put(_drain_file(vm_dir))


def undrain(vm_dir: VmDir) -> None:
    """Let clients come again."""
    _remove(_drain_file(vm_dir))


def is_drained(vm_dir: VmDir) -> bool:
    """Tell whether clients are to be kept away."""
    return _drain_file(vm_dir).exists()


def is_paused(vm_dir: VmDir) -> bool:
    """Tell whether restarting is suspended."""
    return _pause_file(vm_dir).exists()


def mark_shutdown(vm_dir: VmDir) -> None:
    """Say that this process, a supervisord, ends everything of this VM now."""
    identity = me()
    write_text(_shutdown_file(vm_dir), f"{identity.pid} {identity.start_ticks} {identity.boot_id}\n", fsync=False)


def clear_shutdown(vm_dir: VmDir) -> None:
    """Take the mark back."""
    with contextlib.suppress(OSError):
        _shutdown_file(vm_dir).unlink()


def is_shutting_down(vm_dir: VmDir) -> bool:
    """Tell whether a live supervisord is ending this VM."""
    try:
        pid, start_ticks, boot = reading.read_text(_shutdown_file(vm_dir)).split()
        return is_alive(
            Identity(
                fields.parse_whole(pid, "the pid", 1, fields.PID_MAX),
                fields.parse_whole(start_ticks, "the start", 0, reading.WHOLE_MAX),
                boot,
            )
        )
    except (OSError, ValueError) as error:
        if is_shortage(error):
            raise
        return False


def must_not_run(vm_dir: VmDir, role: RoleName) -> bool:
    """Tell whether ``role`` was ended on purpose: stopped, or by a supervisord that shuts down."""
    return is_stopped(vm_dir, role) or is_shutting_down(vm_dir)


def may_start(vm_dir: VmDir, role: RoleName) -> bool:
    """Tell whether ``role`` is meant to run: the one question that everybody who launches asks first."""
    return not (must_not_run(vm_dir, role) or is_paused(vm_dir))


def _put(mark: Path) -> None:
    """Make a mark that outlasts a loss of power."""
    mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_text(mark, "", fsync=True)


def _remove(mark: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        try:
            mark.unlink()
        except IsADirectoryError:
            aside.clear_way(mark)
        sync_folder(mark.parent)


def _stop_file(vm_dir: VmDir, role: RoleName) -> Path:
    return vm_dir.state / f"{role}.stopped"


def _word_file(vm_dir: VmDir, role: RoleName) -> Path:
    return vm_dir.run / f"{role}.started"


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _pause_file(vm_dir: VmDir) -> Path:
    return vm_dir.state / "paused"


def _drain_file(vm_dir: VmDir) -> Path:
    return vm_dir.state / "drained"


def _shutdown_file(vm_dir: VmDir) -> Path:
    return vm_dir.run / "shutdown"
