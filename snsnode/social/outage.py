"""One log line when something begins to fail and one when it works again, however often it is tried between."""

import logging

from snsnode.base.errors import SnsError

log = logging.getLogger(__name__)


class Outage:
    """The failing, or not, of one thing that is tried again and again; ``what`` completes "cannot …"."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.lasting = False

    def failed(self, error: Exception) -> None:
        """Note a failure: the first is logged, with its traceback where it is nothing a store may raise."""
        if not self.lasting:
            unexpected = None if isinstance(error, SnsError) else error
            log.warning("cannot %s, trying on: %s", self._what, error, exc_info=unexpected)
        self.lasting = True

    def over(self) -> None:
        """Note a success: the first after a failure is logged."""
        if self.lasting:
            log.warning("can %s again", self._what)
        self.lasting = False
