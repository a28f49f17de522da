"""Waiting times between attempts: pure arithmetic, randomness passed in.

Called by the restart budget (±20 % around a doubling step) and by the client (full jitter).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """A doubling delay: ``first_s``, 2 × ``first_s``, … never above ``max_s``."""

    first_s: float
    max_s: float

    def step_s(self, attempt: int) -> float:
        """Return the delay before retry ``attempt`` (0 is the first retry), without jitter."""
        # Beyond 2**32 the power is certainly above any max_s, and floats would overflow near 2**1024.
        return min(self.max_s, self.first_s * 2.0 ** min(attempt, 32))

    def around_s(self, attempt: int, unit: float, spread: float = 0.2) -> float:
        """Return the delay ± ``spread``; ``unit`` is a random number in [0, 1)."""
        return self.step_s(attempt) * (1.0 - spread + 2.0 * spread * unit)

    def full_jitter_s(self, attempt: int, unit: float) -> float:
        """Return a delay anywhere below the step; ``unit`` is a random number in [0, 1).

        The rule is "full jitter" of the AWS Architecture Blog, "Exponential Backoff And Jitter" (2015): it
        spreads many clients that failed at the same moment best.
        """
        return self.step_s(attempt) * unit
