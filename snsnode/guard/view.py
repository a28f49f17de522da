"""One pair as an observer sees it at one moment: the same frozen shape for everybody who judges.

The observers (slave, master, spare, supervisord) sample it with their own hands and give it to ``judge``. What an
observer could not find out is ``UNKNOWN``, and condemns nobody.
"""

from dataclasses import dataclass, field
from enum import Enum

from snsnode.node.config import RoleName
from snsnode.node.places import EMPTY, UNKNOWN, Seen
from snsnode.node.process import Identity


class Me(Enum):
    """Who judges."""

    SLAVE = "slave"
    MASTER = "master"
    SPARE = "spare"
    SUPERVISORD = "supervisord"


class Place(Enum):
    """A place of a VM that one process at a time holds, by its lock; the first three are a pair's."""

    SLAVE = "slave"
    MASTER = "master"
    SPARE = "spare"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class View:
    """A pair, or a router, what its operator wants, and what the restart budget says.

    ``wanted``: the roles that are meant to run, which a stop, a pause and a shutdown take away. ``leaving``: the
    roles that an operator stopped, or that supervisord is shutting down. ``waits``: somebody other than the
    observer waits before a restart, as the budget told it. ``ours``: for a spare the slave that launched it, for a
    slave the spare that it launched. ``alone``: a spare's line to its slave has ended: the slave is dead or dying.
    ``sent``: the spare that the slave sent in, until it is the master. ``dismissed``: the spare that the slave
    asked to leave. ``born``: a child that the observer launched, while it has not announced itself.
    """

    slave: Seen = EMPTY
    master: Seen = EMPTY
    spare: Seen = EMPTY
    wanted: frozenset[RoleName] = field(default_factory=lambda: frozenset({"slave", "master"}))
    leaving: frozenset[RoleName] = frozenset()
    waits: bool = False
    ours: Identity | None = None
    alone: bool = False
    sent: Identity | None = None
    dismissed: Identity | None = None
    born: Identity | None = None
    router: Seen = UNKNOWN  # only supervisord looks there

    def at(self, place: Place) -> Seen:
        """Return what is seen in one place."""
        found: Seen = getattr(self, place.value)
        return found

    @property
    def is_traced(self) -> bool:
        """A debugger holds one of the pair."""
        return self.slave.is_traced or self.master.is_traced or self.spare.is_traced
