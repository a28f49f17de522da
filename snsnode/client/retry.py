"""Whom to ask, whom to log in at, and when to try again: the client's connection as a pure machine.

``step(state, event, now, unit)`` gives the next state and what to do. It knows no clock, socket, task or log;
``keeper`` acts for it, and a simulator may. ``now`` is monotonic time in seconds, ``unit`` a random number in
[0, 1).

The rules, and why:

- **A round** asks the routers in turn, first the one that answered last. A router that is silent for
  ``HEDGE_S`` is not waited for: the next is asked beside it, and the first answer counts. Last in the round
  stands the server that we had: it may be back although no router can be reached.
- **Between rounds** the client backs off with full jitter, because everyone lost the same server at the same
  moment. The first round after a loss starts at once: waiting is for those who failed.
- **Doubt is not loss.** A slow server is reported to the routers, which probe it, while the link stays in use.
  Only another answer moves the client; a router's silence never does (a router is no reason to leave a master).
- **Leaving is neither.** A server that says that it leaves is asked about without blame, and left only for another
  that has taken us: make before break. As long as routers name no other one, the client stays, and asks again.
- **Waiting for one's turn is nobody's slowness.** The clients of one process ask and log in a few at a time
  (``turns``); the times after which somebody counts as slow begin with the turn.
- **A full server is not to blame**: it serves others. Routers are asked for another one, and only for want of
  one is it tried again.
- **A refusal ends the search**: a name that somebody else holds is not free by asking again.
"""

from dataclasses import replace

from snsnode.base.errors import DeadlineExceeded, Exhausted, Full, Refused, SessionLost, SnsError
from snsnode.client.moves import (
    Answered,
    AskFailed,
    Begun,
    Drop,
    EnterFailed,
    Happened,
    Leaving,
    LoggedIn,
    Lost,
    Queued,
    Refuse,
    Server,
    Slow,
    Staying,
    StopAsking,
    Tick,
    Use,
    Wake,
    Wanted,
)
from snsnode.client.rounds import (
    DOUBT_EVERY_S,
    HEDGE_S,
    LOGIN_SLOW_S,
    MOVE_AGAIN_S,
    MOVE_SPREAD_S,
    PAUSE_MIN_S,
    STEADY_S,
    TURN_MAX_S,
    Last,
    Next,
    Phase,
    State,
    before,
    enter,
    next_candidate,
    note,
    pause,
    start_round,
    without_room,
)

__all__ = ["Phase", "State", "ends_search", "step", "tried"]


def step(state: State, event: Happened, now: float, unit: float) -> Next:
    """Return the state after ``event`` and what to do, in order. Late and stale events change nothing."""
    following, actions = _transition(state, event, now, unit)
    wakes = any(isinstance(action, Wake) for action in actions)
    if _waits_to_move(following) and not _waits_to_move(state) and not wakes:
        again_s = MOVE_AGAIN_S * (0.5 + unit)
        return following, (*actions, Wake(now + again_s))
    return following, actions


def _transition(state: State, event: Happened, now: float, unit: float) -> Next:
    match event:
        case Wanted():
            return start_round(state, now) if state.phase is Phase.IDLE else (state, ())
        case Answered():
            return _answered(state, event, now)
        case AskFailed():
            return _ask_failed(state, event, now, unit)
        case LoggedIn():
            return _logged_in(state, event, now)
        case EnterFailed():
            return _enter_failed(state, event, now, unit)
        case Lost():
            return _lost(state, event, now, unit)
        case Slow():
            return _slow(state, now)
        case Leaving():
            return _leaving(state, now, unit)
        case Staying():
            return replace(state, leaving=False), ()
        case Queued():
            return state, (Wake(now + TURN_MAX_S),) if state.asking or state.entering else ()
        case Begun():
            return _begun(state, now)
        case Tick():
            return _tick(state, now, unit)


def ends_search(error: SnsError) -> bool:
    """Say whether a login that failed so must not be tried again."""
    return isinstance(error, Refused | Exhausted)


def tried(state: State) -> str:
    """Name who was tried, and how each failed, for a message."""
    reasons = dict(state.reasons)
    routers = [f"{name}: {reasons.pop(name, 'no answer yet')}" for name in state.routers]
    servers = [f"; server {name}: {why}" for name, why in reasons.items()]
    return f"{'router' if len(routers) == 1 else 'routers'} {', '.join(routers)}{''.join(servers)}"


# --- transitions --------------------------------------------------------------------------------------------


def _answered(state: State, event: Answered, now: float) -> Next:
    if event.router not in state.asking:
        return state, ()
    state = replace(state, preferred=event.router, asking=frozenset(), untried=())
    if event.server == (state.entering or (state.server if state.phase is Phase.READY else None)):
        return state, (StopAsking(),)  # a router that probed it stands by the server in doubt
    return enter(state, event.server, now, StopAsking())


def _ask_failed(state: State, event: AskFailed, now: float, unit: float) -> Next:
    if event.router not in state.asking:
        return state, ()
    state = note(state, state.routers[event.router], event.why)
    following = (event.router + 1) % len(state.routers)
    preferred = following if event.router == state.preferred else state.preferred
    return next_candidate(replace(state, asking=state.asking - {event.router}, preferred=preferred), now, unit)


def _logged_in(state: State, event: LoggedIn, now: float) -> Next:
    if event.server != state.entering:
        return state, ()
    ready = State(
        routers=state.routers,
        phase=Phase.READY,
        server=event.server,
        preferred=state.preferred,
        failures=state.failures,
        ready_at=now,
    )
    # One in doubt may be frozen, with calls that would wait for it: they shall be repeated here.
    gently = state.leaving and state.phase is Phase.READY and state.blamed != state.server
    return ready, (StopAsking(), Use(event.server, gently))


def _enter_failed(state: State, event: EnterFailed, now: float, unit: float) -> Next:
    if event.server != state.entering:
        return state, ()
    timed_out = isinstance(event.error, DeadlineExceeded)
    state = replace(
        note(state, event.server.target, event.error.message),
        entering=None,
        slow_logins=state.slow_logins + timed_out,
    )
    state = _failed_by(state, event.server, event.error)
    if not ends_search(event.error):
        return next_candidate(state, now, unit)
    state = replace(state, asking=frozenset(), untried=())
    if state.phase is Phase.READY:
        return state, (StopAsking(),)  # the link in use may still serve
    return replace(state, phase=Phase.IDLE), (StopAsking(), Refuse(event.error))


def _lost(state: State, event: Lost, now: float, unit: float) -> Next:
    if state.phase is not Phase.READY or state.server is None:
        return state, ()
    server = state.server
    steady = now - state.ready_at >= STEADY_S
    state = replace(
        note(state, server.target, event.error.message),
        phase=Phase.FIND,
        leaving=False,
        failures=0 if steady else state.failures + 1,
    )
    if state.asking or state.entering:  # already in doubt: go on with that search, and add the last resort
        return replace(state, untried=(*state.untried, Last.SERVER)), (Drop(), Wake(now + HEDGE_S))
    if isinstance(event.error, SessionLost):
        if state.failures == 0:
            return enter(state, server, now, Drop())
    else:
        state = _failed_by(state, server, event.error)
    return before(Drop(), start_round(state, now) if state.failures == 0 else pause(state, now, unit))


def _failed_by(state: State, server: Server, error: SnsError) -> State:
    """Remember what to tell routers of a server that did not serve us."""
    if isinstance(error, Full):
        return without_room(state, server)
    return replace(state, blamed=server)


def _slow(state: State, now: float) -> Next:
    busy = state.asking or state.entering
    if state.phase is not Phase.READY or busy or now - state.doubted_at < DOUBT_EVERY_S:
        return state, ()
    return start_round(replace(state, blamed=state.server, doubted_at=now), now)


def _leaving(state: State, now: float, unit: float) -> Next:
    if state.phase is not Phase.READY or state.leaving:
        return state, ()
    state = replace(state, leaving=True)
    # A search for doubt that is under way serves for this as well.
    return state, (Wake(now + max(MOVE_SPREAD_S * unit, PAUSE_MIN_S)),) if _waits_to_move(state) else ()


def _waits_to_move(state: State) -> bool:
    """Say whether the client is to move, and nothing is under way that could bring it on."""
    pending = state.asking or state.entering or state.untried
    return state.phase is Phase.READY and state.leaving and not pending


def _begun(state: State, now: float) -> Next:
    if state.entering is not None:
        return state, (Wake(now + LOGIN_SLOW_S),)
    return state, (Wake(now + HEDGE_S),) if state.asking and state.untried else ()


def _tick(state: State, now: float, unit: float) -> Next:
    if state.untried:
        return next_candidate(state, now, unit)
    if state.asking or state.phase is Phase.IDLE:
        return state, ()
    if state.entering is not None:
        return start_round(replace(state, blamed=state.entering), now)
    if _waits_to_move(state):
        return start_round(replace(state, blamed=None), now)
    return start_round(state, now) if state.phase is Phase.FIND else (state, ())
