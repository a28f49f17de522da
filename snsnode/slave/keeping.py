"""When a slave starts its next spare, and how it sees the one it has. Pure: ``spare`` acts on it.

Seconds of the monotonic clock are passed in.
"""

from dataclasses import dataclass, replace

from snsnode.base.backoff import Backoff
from snsnode.guard.view import View
from snsnode.node.config import RoleName
from snsnode.node.places import Seen
from snsnode.node.process import Identity

SETTLE_S = 0.3  # after a failover, before the next spare is started: the cores belong to the clients then
RETRY = Backoff(first_s=0.5, max_s=10.0)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What was learned from the spares before."""

    not_before_s: float = 0.0  # the next one is started then at the earliest
    failures: int = 0  # in a row

    def sent_in(self, now_s: float) -> "Keeping":
        """Return what counts after the spare was sent in."""
        return replace(self, not_before_s=now_s + SETTLE_S)

    def ended(self, now_s: float) -> "Keeping":
        """Return what counts after the spare ended, or could not be started."""
        return Keeping(now_s + RETRY.step_s(self.failures), self.failures + 1)

    def stood_by(self) -> "Keeping":
        """Return what counts after a spare got ready."""
        return replace(self, failures=0) if self.failures else self

    def wants(self, view: View, now_s: float) -> bool:
        """Tell whether to start a spare now.

        Beside a live master only: one that is being brought up needs the cores, and it may be the orphan. And one
        at a time: a spare that was dismissed still has the lock.
        """
        beside = "master" in view.wanted and view.master.identity is not None
        return beside and view.ours is None and view.dismissed is None and now_s >= self.not_before_s


def view_of(
    master: Seen,
    spare: Seen,
    wanted: frozenset[RoleName],
    *,
    child: Identity | None,
    child_lives: bool,
    sent: Identity | None,
    dismissed: Identity | None,
) -> View:
    """Return what a slave sees that has launched ``child``, and sent in or dismissed others that live.

    A spare that was sent in is of interest until somebody is the master; a child, until it has announced itself.
    """
    unready = child is not None and child_lives and spare.identity != child
    return View(
        master=master,
        spare=spare,
        wanted=wanted,
        ours=child,
        sent=sent if master.identity is None else None,
        dismissed=dismissed,
        born=child if unready else None,
    )
