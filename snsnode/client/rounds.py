"""What the retry machine remembers, and the parts that its transitions are made of. Pure; called by ``retry``."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from snsnode.base.backoff import Backoff
from snsnode.client.moves import Action, Ask, Enter, Server, Wake
from snsnode.client.wording import brief

HEDGE_S = 0.3  # a router that is silent for so long gets company
WAIT_MS = 1000  # a router may hold a Connect so long until a server registers
ASK_TIMEOUT_S = WAIT_MS / 1000 + 0.5
LOGIN_TIMEOUT_S = 1.0  # doubles with every login that timed out, up to:
LOGIN_TIMEOUT_MAX_S = 8.0
LOGIN_SLOW_S = 0.5  # a login that takes longer is reported to the routers while it goes on
BACKOFF = Backoff(first_s=0.02, max_s=0.5)
PAUSE_MIN_S = 0.001  # full jitter may come out as zero; a loop must not
STEADY_S = 1.0  # a link that lived so long was good: its loss starts a fresh count of failures
DOUBT_EVERY_S = 1.0  # a slow server is reported at most so often
MOVE_SPREAD_S = 0.25  # the clients of a server that leaves ask for another one within this, not all at once
MOVE_AGAIN_S = 1.0  # so long after there was no other they ask again, ± half of it
TURN_MAX_S = 10.0  # a turn that does not come for so long is as good as none
REASONS_MAX = 8
FULL_MAX = 8  # servers without room that are remembered, and told to routers


class Phase(Enum):
    """Where the connection stands."""

    IDLE = "idle"  # nobody wants it yet, or the login was refused
    FIND = "find"  # asking routers, logging in, or pausing between rounds
    READY = "ready"  # logged in


class Last(Enum):
    """The last candidate of a round: the server that we had."""

    SERVER = "server"


Candidate: TypeAlias = int | Last


@dataclass(frozen=True, slots=True)
class State:
    """Everything that the machine remembers.

    ``server`` is the one in use (READY) or the one we had last; ``blamed`` is reported to routers as
    unreachable, ``full`` are those that had no room, the latest last. ``asking`` are the routers whose answer is
    awaited, ``untried`` the round's other candidates.
    ``leaving``: the server in use wants us to move.
    """

    routers: tuple[str, ...]
    phase: Phase = Phase.IDLE
    server: Server | None = None
    entering: Server | None = None
    blamed: Server | None = None
    asking: frozenset[int] = frozenset()
    untried: tuple[Candidate, ...] = ()
    preferred: int = 0
    failures: int = 0  # failed rounds since a link was last steady
    slow_logins: int = 0
    ready_at: float = 0.0
    doubted_at: float = float("-inf")
    leaving: bool = False
    full: tuple[Server, ...] = ()
    reasons: tuple[tuple[str, str], ...] = ()  # (who, why it failed), the latest for each


Next: TypeAlias = tuple[State, tuple[Action, ...]]


def start_round(state: State, now: float) -> Next:
    """Start a round; where a link is in use or a login under way, only routers are candidates."""
    count = len(state.routers)
    untried: tuple[Candidate, ...] = tuple((state.preferred + i) % count for i in range(count))
    if state.phase is not Phase.READY:
        state = replace(state, phase=Phase.FIND)
        if state.server is not None and state.entering is None:
            untried = (*untried, Last.SERVER)
    return next_candidate(replace(state, untried=untried), now, 0.0)


def next_candidate(state: State, now: float, unit: float) -> Next:
    """Try the round's next candidate; pause where none is left and nothing is pending."""
    if not state.untried:
        searching = state.phase is Phase.FIND and not state.asking and state.entering is None
        return pause(replace(state, failures=state.failures + 1), now, unit) if searching else (state, ())
    first, rest = state.untried[0], state.untried[1:]
    state = replace(state, untried=rest)
    if isinstance(first, Last):
        if state.server is None or state.entering is not None:
            return state, ()
        return enter(state, state.server, now)
    state = replace(state, asking=state.asking | {first})
    hedge: tuple[Action, ...] = (Wake(now + HEDGE_S),) if rest else ()
    return state, (Ask(first, state.blamed, state.full), *hedge)


def enter(state: State, server: Server, now: float, *before: Action) -> Next:
    """Log in at ``server``, and be woken where that takes long."""
    timeout_s = min(LOGIN_TIMEOUT_S * 2.0 ** min(state.slow_logins, 8), LOGIN_TIMEOUT_MAX_S)
    return replace(state, entering=server), (*before, Enter(server, timeout_s), Wake(now + LOGIN_SLOW_S))


def pause(state: State, now: float, unit: float) -> Next:
    """Back off with full jitter: everyone lost the same server at the same moment."""
    pause_s = max(BACKOFF.full_jitter_s(max(state.failures - 1, 0), unit), PAUSE_MIN_S)
    return state, (Wake(now + pause_s),)


def before(action: Action, following: Next) -> Next:
    """Put ``action`` before those of ``following``."""
    return following[0], (action, *following[1])


def without_room(state: State, server: Server) -> State:
    """Remember that ``server`` is full, which is no fault of its own: routers shall name another."""
    others = tuple(known for known in state.full if known != server)
    return replace(state, full=(*others, server)[-FULL_MAX:])


def note(state: State, who: str, why: str) -> State:
    """Remember why ``who`` failed, for a message."""
    others = tuple(reason for reason in state.reasons if reason[0] != who)
    return replace(state, reasons=(*others, (who, brief(why)))[-REASONS_MAX - len(state.routers) :])
