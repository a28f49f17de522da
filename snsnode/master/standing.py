"""Where a master stands with the routers, and what it does about their answers. Pure: ``registration`` acts on it.

Each line to a router registers, and then does what ``after_refusal`` and ``after_rise`` say. What one router says
may be news for the others: a claim that it granted.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from enum import Enum

from snsnode.base.ids import Epoch

FOLLOW_MAX = 1_000_000  # a router that knows an epoch so far above ours errs; we would only use epochs up
CLAIM_END = 2**62  # no router takes a claim from here on


@dataclass(frozen=True, slots=True)
class Said:
    """What a router that took a registration says of us, as far as it matters here."""

    standby: bool  # it has another server for our clients
    highest_claim: int  # of any server
    granted_claim: int  # ours


class Then(Enum):
    """What a line does after an answer."""

    REST = "rest"  # for an interval; a break of the line or news ends that sooner
    RISE = "rise"  # claim an epoch above the one that the router knows; ``after_rise`` tells how it goes on
    AGAIN = "again"  # register at once


@dataclass(frozen=True, slots=True)
class Standing:
    """What routers are told of us, and what they said."""

    leaving: bool = False  # no client should come
    ending: bool = False  # we leave for good: none ever again
    claim: int = 0  # ours
    highest_claim: int = 0  # of any server
    elsewhere: frozenset[Hashable] = frozenset()  # the routers that have another server for our clients

    @property
    def may_move(self) -> bool:
        """Tell whether a router has another server for our clients: it took our leaving, and chose one."""
        return self.leaving and bool(self.elsewhere)

    def left(self, *, ending: bool = False) -> "Standing":
        """Return the standing of one who leaves."""
        return replace(self, leaving=True, ending=self.ending or ending)

    def stayed(self) -> "Standing":
        """Return the standing of one who stays after all; one who ends goes on leaving."""
        return replace(self, leaving=self.ending)

    def claiming(self) -> "Standing":
        """Return the standing of one who takes over: it claims more than all that the routers know."""
        return replace(self, claim=self.highest_claim + 1)

    def unheard(self, router: Hashable) -> "Standing":
        """Return the standing after ``router`` did not answer: what it said last counts no more."""
        return replace(self, elsewhere=self.elsewhere - {router}) if router in self.elsewhere else self


def take(standing: Standing, router: Hashable, said: Said) -> tuple[Standing, bool]:
    """Note what ``router`` said of us; return whether the other routers must hear of it at once."""
    elsewhere = standing.elsewhere
    if said.standby != (router in elsewhere):
        elsewhere = elsewhere | {router} if said.standby else elsewhere - {router}
    highest = said.highest_claim if said.highest_claim < CLAIM_END else 0
    is_news = standing.claim < said.granted_claim < CLAIM_END
    after = replace(
        standing,
        elsewhere=elsewhere,
        highest_claim=max(standing.highest_claim, highest),
        claim=said.granted_claim if is_news else standing.claim,
    )
    return after, is_news


def after_refusal(standing: Standing, own: Epoch, known: Epoch) -> Then:
    """Return what a line does whose router refused epoch ``own``, because it knows ``known``."""
    return Then.REST if standing.ending or is_beyond_belief(own, known) else Then.RISE


def after_rise(sent: Epoch, own: Epoch) -> Then:
    """Return what a line does after a rise: nothing new where none was possible."""
    return Then.REST if own == sent else Then.AGAIN


def is_beyond_belief(own: Epoch, known: Epoch) -> bool:
    """Tell whether ``known`` is so far above our epoch that the router must be wrong."""
    return known > own + FOLLOW_MAX


def risen(own: Epoch, known: Epoch) -> Epoch | None:
    """Return the epoch to claim at least; None where ours is above already: another line has seen to it."""
    return Epoch(known + 1) if own <= known else None
