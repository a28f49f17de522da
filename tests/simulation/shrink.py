"""The shortest schedule that still fails: faults are left out while the run still breaks the same invariant.

Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), on the list of
faults; then the faults that last are shortened. The seed stays, so every draw but the schedule is the same.
"""

from collections.abc import Callable
from dataclasses import replace

from tests.simulation.faults import FOR_GOOD, Fault

RUNS_MAX = 150

Fails = Callable[[list[Fault]], bool]


def shrink(faults: list[Fault], fails: Fails, runs_max: int = RUNS_MAX) -> list[Fault]:
    """Return a part of ``faults`` for which ``fails`` still says True; at most ``runs_max`` questions."""
    asked = _Bounded(fails, runs_max)
    faults = _drop(faults, asked)
    for at, fault in enumerate(faults):
        if 0.0 < fault.for_s < FOR_GOOD:
            shorter = [*faults[:at], replace(fault, for_s=fault.for_s / 2), *faults[at + 1 :]]
            faults = shorter if asked(shorter) else faults
    return faults


def _drop(faults: list[Fault], fails: Fails) -> list[Fault]:
    parts = 2
    while len(faults) >= 2:
        size = max(1, len(faults) // parts)
        for begin in range(0, len(faults), size):
            rest = faults[:begin] + faults[begin + size :]
            if fails(rest):
                faults, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(faults))
    return [] if len(faults) == 1 and fails([]) else faults


class _Bounded:
    """Asks so often, and then says no."""

    def __init__(self, fails: Fails, runs_max: int) -> None:
        self._fails = fails
        self._left = runs_max

    def __call__(self, faults: list[Fault]) -> bool:
        self._left -= 1
        return self._left >= 0 and self._fails(faults)
