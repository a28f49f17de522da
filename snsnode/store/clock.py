"""The clocks of a store that lives on this machine.

Called by the embedded engine. Wall time is shown to people; leases run on the boot clock, which all processes
of a machine share and which no one can set: a clock that is put right must not free a live name or keep a dead
one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Clock:
    """Unix time, the time since boot, and which boot that is."""

    wall_ms: Callable[[], int]
    boot_ms: Callable[[], int]
    boot_id: str


def machine_clock() -> Clock:
    """Return the clocks of this machine."""
    return Clock(
        wall_ms=lambda: time.time_ns() // 1_000_000,
        boot_ms=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
        boot_id=_BOOT_ID.read_text(encoding="ascii").strip(),
    )
