"""Whether a partner's end was asked for: then nobody's restart budget pays for it. Pure: ``watch`` asks."""

from dataclasses import dataclass

from snsnode.node.process import Identity

PLANNED_S = 5.0  # an end so soon after a stop intent was seen is the one that was asked for


@dataclass(frozen=True, slots=True)
class Unwanted:
    """The partner that an operator stopped, and when we saw that last, in monotonic seconds.

    Remembered, because a planned restart takes the intent back, perhaps before we see the end of the old one.
    """

    partner: Identity
    seen_s: float

    def explains(self, victim: Identity, now_s: float) -> bool:
        """Tell whether the end of ``victim`` is the one that was asked for."""
        return victim == self.partner and now_s - self.seen_s < PLANNED_S


def is_paid(*, succeeded: bool, wanted: bool, planned: bool) -> bool:
    """Tell whether a death brings a restart that the budget pays: not where somebody else was quicker."""
    return wanted and not planned and not succeeded
