"""Counts what a router refuses, and tells of it once a minute for each cause.

A caller that calls a router a thousand times a second must not be able to fill its log.
"""

import logging
import time
from enum import Enum

log = logging.getLogger(__name__)

EVERY_S = 60.0


class Cause(Enum):
    """Why a word was not taken; a closed set, so that what is kept of them is bounded."""

    STRANGER = "it is of no server or router of the spec"
    ELSEWHERE = "it came from another machine"
    UNCONFIRMED = "the server itself does not confirm it"
    OLD = "it is older than what is known"
    CLAIM = "the claim is beyond belief"


class Refusals:
    """The counts of one router."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Cause, 0)
        self._told = dict.fromkeys(Cause, (float("-inf"), 0))  # when, and how many there were then

    def note(self, cause: Cause, message: str) -> None:
        """Count one, and tell the first and then at most one a minute."""
        self.counts[cause] += 1
        now_s, (told_s, told) = time.monotonic(), self._told[cause]
        if now_s - told_s < EVERY_S:
            return
        self._told[cause] = (now_s, self.counts[cause])
        more = self.counts[cause] - told - 1
        since = f"; {more} more since the last line of this kind" if more else ""
        log.warning("refused, for %s: %s%s", cause.value, message, since)
