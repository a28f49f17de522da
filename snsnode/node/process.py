"""Who a process is, and whether it lives: the kernel's word, safe against recycled pids.

A pid alone names nobody for long. An ``Identity`` adds the start time (field 22 of ``/proc/PID/stat``, in clock
ticks since boot) and the boot id, and every signal goes through a pidfd that was checked against both.
"""

import os
import select
import signal
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from snsnode.node.shortage import is_shortage

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, for ever: no other process of any boot has the same three values."""

    pid: int
    start_ticks: int
    boot_id: str

    @property
    def uptime_s(self) -> float:
        """Seconds since the process started (it need not live any more)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.start_ticks / _TICKS_PER_S


@cache
def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """Return the identity of the process that has ``pid`` now, None where there is none."""
    stat = _stat(pid)
    return Identity(pid, stat[1], boot_id()) if stat else None


def me() -> Identity:
    """Return this process's identity."""
    return _mine(os.getpid())


@cache
def _mine(pid: int) -> Identity:
    identity = identify(pid)
    assert identity is not None  # /proc/self exists while we do
    return identity


def state_of(identity: Identity) -> str | None:
    """Return the process's state letter (``R S D T t Z`` …, proc(5)), None where it is gone."""
    if identity.boot_id != boot_id():
        return None
    stat = _stat(identity.pid)
    return stat[0] if stat and stat[1] == identity.start_ticks else None


def is_alive(identity: Identity) -> bool:
    """Tell whether the process lives; a zombie does not: its lock, its port and its memory are gone."""
    return (state_of(identity) or "X") not in "ZX"


def open_pidfd(identity: Identity) -> int | None:
    """Return a pidfd of exactly this process, readable when it dies; None where it is gone.

    The caller closes it.
    """
    try:
        descriptor = os.pidfd_open(identity.pid)
    except OSError as error:
        if is_shortage(error):
            raise  # our own shortage is no word of the kernel about that process
        return None
    # Checked after opening: the pidfd pins whoever it is, so the answer cannot go stale.
    if is_alive(identity):
        return descriptor
    os.close(descriptor)
    return None


def send_signal(identity: Identity, signum: signal.Signals) -> bool:
    """Signal exactly this process; False where it is gone. To end one, see ``ending``."""
    descriptor = open_pidfd(identity)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_dead(identity: Identity, within_s: float) -> bool:
    """Wait until the process is dead, blocking; False after ``within_s``."""
    descriptor = open_pidfd(identity)
    if descriptor is None:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(max(within_s, 0) * 1000))
    finally:
        os.close(descriptor)


def _stat(pid: int) -> tuple[str, int] | None:
    """Return state letter and start ticks of ``pid``."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError as error:
        if is_shortage(error):
            raise
        return None
    # The command name may hold spaces and parentheses: fields are counted from the last ")".
    fields = text[text.rfind(b")") + 2 :].split()
    return fields[0].decode(), int(fields[19])
