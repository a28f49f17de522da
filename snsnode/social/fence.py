"""What happens when the store says that this incarnation of the server was replaced.

Called by the servicer and by the renewal of logins. The master is told once; a client never sees the fence as a
refusal, only that nobody serves it here.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from snsnode.base.errors import Fenced, Unavailable

log = logging.getLogger(__name__)


class Fence:
    """Calls ``on_fenced`` at the first write that the store fenced; ``on_fenced`` must not block or raise."""

    def __init__(self, on_fenced: Callable[[], None]) -> None:
        self._on_fenced = on_fenced
        self._tripped = False

    def trip(self, error: Fenced) -> None:
        """Tell the master, once."""
        if not self._tripped:
            self._tripped = True
            log.warning("this server was replaced: %s", error)
            self._on_fenced()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Turn ``Fenced`` from the block into ``Unavailable``: the client shall repeat the call elsewhere.

        Raises:
            Unavailable: the block was fenced.
        """
        try:
            yield
        except Fenced as error:
            self.trip(error)
            raise Unavailable("cannot write: this server was replaced; ask a router") from error
