"""One call's attempts: when to repeat it, after which pause, for how long to wait, and when to give up. Pure.

Called by ``calls`` and ``timeline``. A call is safe to repeat: what writes carries a request id.
"""

from dataclasses import dataclass, replace

from snsnode.base.errors import DeadlineExceeded, Fenced, SessionLost, SnsError, StoreFailed, Unavailable
from snsnode.client.rounds import BACKOFF

SLOW_S = 0.3  # a call that takes longer puts its server in doubt, and the routers probe it
TIMEOUT_S = 1.0  # doubles with every attempt that timed out, up to:
TIMEOUT_MAX_S = 8.0

# Everything else is final: a refusal cannot succeed later, a full disk is the operator's.
_PASSING = (Unavailable, DeadlineExceeded, SessionLost, Fenced, StoreFailed)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one call, which must be over at ``until`` (monotonic seconds)."""

    until: float
    failed: int = 0
    timed_out: int = 0

    def timeout_s(self, now: float) -> float:
        """Return how long the next attempt may take; 0 where the time is up."""
        growing = min(TIMEOUT_S * 2.0 ** min(self.timed_out, 8), TIMEOUT_MAX_S)
        return max(min(growing, self.until - now), 0.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed attempt leads to.

    ``final``: the error must be raised as it is. Otherwise the next attempt follows after ``pause_s``, or,
    where that is None, the time is up. ``lost``: the link must not be used again.
    """

    attempts: Attempts
    pause_s: float | None
    lost: bool = False
    final: bool = False


def passes(error: SnsError) -> bool:
    """Say whether the same request may succeed later or elsewhere."""
    return isinstance(error, _PASSING)


def judge(attempts: Attempts, error: SnsError, now: float, unit: float) -> Verdict:
    """Judge a failed attempt; ``unit`` is a random number in [0, 1).

    The first repetition is immediate: failing over is the link's work, and it has its own back-off. One
    time-out alone does not condemn the link: a busy server would lose all its clients just when it is busy, and
    a stopped one is given away by pings within two seconds.
    """
    if not passes(error):
        return Verdict(attempts, None, final=True)
    timed_out = isinstance(error, DeadlineExceeded)
    following = replace(attempts, failed=attempts.failed + 1, timed_out=attempts.timed_out + timed_out)
    lost = not isinstance(error, StoreFailed) and (not timed_out or following.timed_out > 1)
    pause_s = BACKOFF.full_jitter_s(attempts.failed - 1, unit) if attempts.failed else 0.0
    if now + pause_s >= attempts.until:
        return Verdict(following, None, lost)
    return Verdict(following, pause_s, lost)
