"""The pair machine: one partner's view of the other. Pure: state + event + now → new state + actions.

Used by the slave to watch its master and by the master to watch its slave, through ``watch``. It has no clock,
no socket and no log, so that it can be run a million times in a simulator.

Invariants, each kept by the transitions that name it:

I1  **Never two live masters.** ``Launch`` is only emitted when no partner is known to live: after ``Cleared``
    (the old one was killed and its death awaited), or from ABSENT.
I2  **A stop is never undone.** ``Launch`` is only emitted while ``wanted`` is true.
I3  **No verdict by a watcher that was itself late.** What comes before a late tick is not believed, after it
    all evidence of a hang is dropped, and none counts before ``trusted_from_s``. Only the process state, which
    is the kernel's word of this moment, counts as soon as it was seen twice again.
I4  **"Dead" needs the kernel's word, "hung" two signals**: KeepAlive and progress, or the process state
    twice. KeepAlive alone condemns only after the whole silence.
I5  **One replacement at a time.** In CLEARING and WAITING no evidence is taken; each ends in one launch at
    most.
I6  **No standstill.** In CLEARING an action is under way, or the time is set at which it is tried again: one that
    broke off (``Failed``) is repeated, a Clear as a Clear, because nobody knows yet that the old one is dead.
"""

from dataclasses import dataclass, replace
from enum import Enum

from snsnode.guard.times import LATE_S, SILENT_MIN_S, START_S, TICK_S, Times
from snsnode.node.process import Identity

STALL_S = 0.5  # progress that stands still this long is worth a beat at once: the bell, not the verdict
# Lower bounds for verdicts on a single signal: on a busy machine a healthy partner may be late by this much,
# however short the spec's silence is.
SILENCE_MIN_S = 3.0  # KeepAlive unanswered although progress moves, or where none is shown
UNANSWERED_MISSES = 3
STARTING_BEAT_S = 0.1  # between beats to a partner that is starting
RETRY_S = 0.5  # after an action that broke off; what we lack (descriptors, memory, room) may be there again


class Phase(Enum):
    """Where the watcher stands with its partner."""

    ABSENT = "absent"  # none lives, none is being brought up
    STARTING = "starting"  # it lives and has not answered yet
    UP = "up"  # it answers
    DOUBTED = "doubted"  # a beat was missed; a second one makes sure
    CLEARING = "clearing"  # condemned: being killed, its death awaited
    WAITING = "waiting"  # dead; the budget says when to launch the next


class Cause(Enum):
    """Why a partner is replaced; these words stand in the journal."""

    FIRST = "first launch"
    FOUND = "found running"
    DEAD = "died"
    FROZEN = "stopped (state T)"  # the journal's words since its first entry
    HUNG = "hung: no KeepAlive and no progress"
    UNANSWERED = "KeepAlive unanswered"
    WEDGED = "answers KeepAlive but serves nobody"
    SILENT = "fell silent"
    NEVER_READY = "did not become ready in time"


@dataclass(frozen=True, slots=True)
class Rules:
    """Times of one watch, in seconds.

    ``sends`` is true where the watcher sends the beats (the slave), false where it receives them (the master).
    """

    interval_s: float
    timeout_s: float
    silence_s: float
    start_deadline_s: float
    sends: bool

    @classmethod
    def of(cls, times: Times, *, sends: bool) -> "Rules":
        """Return the rules of a slave's watch (``sends``), or of a master's."""
        start_s = START_S if sends else times.first_beat_s
        return cls(times.interval_s, times.timeout_s, times.silence_s, start_s, sends=sends)


@dataclass(frozen=True, slots=True)
class State:
    """What the watcher knows. Times are monotonic seconds."""

    phase: Phase = Phase.ABSENT
    partner: Identity | None = None
    since_s: float = 0.0  # when the phase was entered
    tick_s: float | None = None  # the last tick
    beat_s: float = 0.0  # the last answered or received beat
    next_beat_s: float = 0.0
    missed: int = 0
    frozen_seen: int = 0  # consecutive ticks in state T
    progress: int | None = None
    progress_s: float = 0.0  # when progress last moved
    bell_s: float = 0.0  # when the bell rang for the present standstill
    trusted_from_s: float = 0.0
    launch_at_s: float = 0.0
    clear_at_s: float | None = None  # when a Clear that broke off is tried again
    cause: Cause = Cause.FIRST


# --- events ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; ``process_state`` is the partner's letter of /proc, ``progress`` its counter, if known."""

    process_state: str | None = None
    progress: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A live process holds the partner's role; ``settled`` when it is too old to be still starting."""

    partner: Identity
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A beat was answered by (or, where we listen, came from) ``partner``."""

    partner: Identity


@dataclass(frozen=True, slots=True)
class Missed:
    """A beat to ``partner`` failed or timed out."""

    partner: Identity


@dataclass(frozen=True, slots=True)
class Died:
    """The kernel's word: ``partner`` is dead."""

    partner: Identity


@dataclass(frozen=True, slots=True)
class Cleared:
    """The condemned one is dead; the budget allows the next launch in ``wait_s``."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The Clear or Launch under way broke off because *we* lack something: descriptors, memory, a disk."""


Event = Tick | Seen | Answered | Missed | Died | Cleared | Failed


# --- actions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beat:
    """Send a KeepAlive to ``partner``; report Answered or Missed."""

    partner: Identity


@dataclass(frozen=True, slots=True)
class Clear:
    """Make sure that ``partner`` is dead, tell the router, ask the budget.

    Report Cleared, or Seen where somebody else's successor holds the role by then; once, and no Seen before.
    """

    partner: Identity
    cause: Cause


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a new partner; report Seen, or Cleared after the budget was asked where that failed.

    A Clear or Launch that breaks off reports Failed instead.
    """

    cause: Cause


Action = Beat | Clear | Launch
Outcome = tuple[State, tuple[Action, ...]]


def step(state: State, event: Event, now_s: float, rules: Rules, *, wanted: bool) -> Outcome:
    """Return the next state and what to do now.

    ``wanted`` says whether the partner is meant to run (no stop intent, no pause, no shutdown).
    """
    match event:
        case Tick():
            return _tick(state, event, now_s, rules, wanted)
        case Seen(partner, settled):
            return _seen(state, partner, settled, now_s, rules)
        case Answered(partner):
            return _answered(state, partner, now_s, rules)
        case Missed(partner):
            return _missed(state, partner, now_s, rules) if wanted else (state, ())
        case Died(partner):
            if partner != state.partner or state.phase in _REPLACING:
                return state, ()  # I5
            return _condemn(state, Cause.DEAD, now_s)
        case Cleared(wait_s):
            if state.phase is not Phase.CLEARING:
                return state, ()
            waiting = replace(state, phase=Phase.WAITING, since_s=now_s, partner=None, launch_at_s=now_s + wait_s)
            return _waiting(waiting, now_s, wanted)
        case Failed():
            return _failed(state, now_s)


_REPLACING = (Phase.ABSENT, Phase.CLEARING, Phase.WAITING)


def due_s(state: State, rules: Rules, *, wanted: bool, moving: bool) -> float | None:
    """Return when the next tick does something, if it finds the partner as the last one did; None where none does.

    ``moving`` tells whether the partner's progress moves. Monotonic seconds. What must be exceeded is due a tick
    later.
    """
    now = float("-inf")
    match state.phase:
        case Phase.CLEARING:
            return state.clear_at_s
        case Phase.ABSENT:
            return now if wanted else None
        case Phase.WAITING:
            return state.launch_at_s if wanted else now
    if not wanted:
        return None
    if state.frozen_seen:
        return now
    due = [state.next_beat_s] if rules.sends else []
    if state.phase is Phase.STARTING:
        due.append(state.since_s + rules.start_deadline_s + TICK_S)
    elif not rules.sends:
        due.append(max(state.beat_s + max(rules.silence_s, SILENT_MIN_S) + TICK_S, state.trusted_from_s))
    elif not moving and state.progress is not None:
        if state.phase is Phase.UP and state.bell_s <= state.progress_s:
            due.append(state.progress_s + STALL_S)
        if state.beat_s - state.progress_s > rules.interval_s:
            due.append(max(state.progress_s + rules.silence_s + TICK_S, state.trusted_from_s))
    return min(due)


def _tick(state: State, tick: Tick, now_s: float, rules: Rules, wanted: bool) -> Outcome:
    if _is_late(state, now_s):
        state = _forgive(state, now_s, rules)
    state = replace(state, tick_s=now_s)
    match state.phase:
        case Phase.CLEARING:
            return _clear_again(state, now_s)
        case Phase.ABSENT:
            return _launch(state, Cause.FIRST, now_s) if wanted else (state, ())
        case Phase.WAITING:
            return _waiting(state, now_s, wanted)
        case _ if not wanted:
            # Stopped or paused on purpose: whoever did it ends, freezes or debugs it. Only death counts.
            return _forgive(state, now_s, rules), ()
        case _:
            return _watch(_sample(state, tick, now_s, rules), now_s, rules)


def _is_late(state: State, now_s: float) -> bool:
    return state.tick_s is not None and now_s - state.tick_s > LATE_S


def _forgive(state: State, now_s: float, rules: Rules) -> State:
    """Keep I3: we did not run, so nothing that we failed to see counts."""
    return replace(
        state,
        missed=0,
        frozen_seen=0,
        progress_s=now_s,
        beat_s=max(state.beat_s, now_s),
        next_beat_s=now_s,
        since_s=now_s if state.phase in (Phase.STARTING, Phase.DOUBTED) else state.since_s,
        trusted_from_s=now_s + rules.interval_s,
    )


def _sample(state: State, tick: Tick, now_s: float, rules: Rules) -> State:
    if tick.progress != state.progress:
        if state.progress is None and state.phase is Phase.STARTING:
            state = replace(state, next_beat_s=now_s)  # its first sign of life: it may serve by now
        state = replace(state, progress=tick.progress, progress_s=now_s)
    if tick.process_state == "T":
        return replace(state, frozen_seen=state.frozen_seen + 1)
    if tick.process_state == "t":  # a debugger holds it: its owner knows; no evidence counts meanwhile
        return replace(_forgive(state, now_s, rules), next_beat_s=state.next_beat_s)
    return replace(state, frozen_seen=0) if state.frozen_seen else state


def _watch(state: State, now_s: float, rules: Rules) -> Outcome:
    """Weigh the evidence against a live partner (I4)."""
    if state.frozen_seen >= 2:
        return _condemn(state, Cause.FROZEN, now_s)
    if state.phase is Phase.STARTING and now_s - state.since_s > rules.start_deadline_s:
        return _condemn(state, Cause.NEVER_READY, now_s)
    if now_s >= state.trusted_from_s and state.phase is not Phase.STARTING:
        if not rules.sends and now_s - state.beat_s > max(rules.silence_s, SILENT_MIN_S):
            return _condemn(state, Cause.SILENT, now_s)
        # It answered after its progress had stopped, twice at least: threads run, the loop does not.
        stalled_s = _stalled_s(state)
        if rules.sends and stalled_s > rules.silence_s and state.beat_s - state.progress_s > rules.interval_s:
            return _condemn(state, Cause.WEDGED, now_s)
    if rules.sends and state.partner is not None:
        if now_s >= state.next_beat_s:
            return replace(state, next_beat_s=_next_beat_s(state, now_s, rules)), (Beat(state.partner),)
        # The bell: a loop that stands still is asked at once, once for each standstill.
        rung = state.bell_s > state.progress_s
        if state.phase is Phase.UP and _stalled_s(state) >= STALL_S and not rung:
            return replace(state, bell_s=now_s), (Beat(state.partner),)
    return state, ()


def _next_beat_s(state: State, now_s: float, rules: Rules) -> float:
    if state.phase is Phase.STARTING:
        return now_s + STARTING_BEAT_S
    return now_s + rules.interval_s


def _stalled_s(state: State) -> float:
    """Return for how long progress was seen to stand still; 0 where the partner shows none.

    Counted to the last look, not to now: that nobody looked since is no evidence against the partner.
    """
    if state.progress is None or state.tick_s is None:
        return 0.0
    return max(0.0, state.tick_s - state.progress_s)


def _seen(state: State, partner: Identity, settled: bool, now_s: float, rules: Rules) -> Outcome:
    if partner == state.partner:  # known already; or condemned (I5), and still to be seen until it is dead
        return state, ()
    fresh = State(
        phase=Phase.UP if settled else Phase.STARTING,
        partner=partner,
        since_s=now_s,
        tick_s=state.tick_s,
        beat_s=now_s,
        next_beat_s=now_s,
        progress_s=now_s,
        trusted_from_s=now_s,
        # Where we were replacing it, it is our successor; else it was there before us.
        cause=state.cause if state.phase in (Phase.CLEARING, Phase.WAITING) else Cause.FOUND,
    )
    if not rules.sends:
        return fresh, ()
    return replace(fresh, next_beat_s=_next_beat_s(fresh, now_s, rules)), (Beat(partner),)


def _answered(state: State, partner: Identity, now_s: float, rules: Rules) -> Outcome:
    if partner != state.partner or state.phase in _REPLACING:
        return state, ()
    return replace(
        state,
        phase=Phase.UP,
        since_s=now_s if state.phase is not Phase.UP else state.since_s,
        beat_s=now_s,
        next_beat_s=now_s + rules.interval_s,
        missed=0,
    ), ()


def _missed(state: State, partner: Identity, now_s: float, rules: Rules) -> Outcome:
    if partner != state.partner or state.phase in _REPLACING or state.phase is Phase.STARTING:
        return state, ()
    if now_s < state.trusted_from_s or _is_late(state, now_s):  # I3
        return replace(state, next_beat_s=now_s + TICK_S), ()
    if state.phase is Phase.UP:
        doubted = replace(state, phase=Phase.DOUBTED, since_s=now_s, missed=1, next_beat_s=now_s + rules.timeout_s)
        return _judge(doubted, now_s, rules, (Beat(partner),))
    return _judge(replace(state, missed=state.missed + 1, next_beat_s=now_s + TICK_S), now_s, rules, ())


def _judge(state: State, now_s: float, rules: Rules, otherwise: tuple[Action, ...]) -> Outcome:
    """Weigh missed beats (I4): with a standstill one is enough.

    While progress moves, the partner serves; then only a long silence of KeepAlive condemns it. So it is where no
    counter is shown: beats are the only signal then, and misses may be quick (a removed socket refuses at once).
    """
    if _stalled_s(state) >= STALL_S:
        return _condemn(state, Cause.HUNG, now_s)
    if state.missed >= UNANSWERED_MISSES and now_s - state.beat_s > max(rules.silence_s, SILENCE_MIN_S):
        return _condemn(state, Cause.UNANSWERED, now_s)
    return state, otherwise


def _condemn(state: State, cause: Cause, now_s: float) -> Outcome:
    assert state.partner is not None  # evidence is only taken against a known partner
    condemned = replace(state, phase=Phase.CLEARING, since_s=now_s, clear_at_s=None, cause=cause)
    return condemned, (Clear(state.partner, cause),)


def _failed(state: State, now_s: float) -> Outcome:
    """Keep I6."""
    if state.phase is not Phase.CLEARING:
        return state, ()
    if state.partner is None:  # it was a launch
        return replace(state, phase=Phase.WAITING, since_s=now_s, launch_at_s=now_s + RETRY_S), ()
    return replace(state, clear_at_s=now_s + RETRY_S), ()


def _clear_again(state: State, now_s: float) -> Outcome:
    if state.partner is None or state.clear_at_s is None or now_s < state.clear_at_s:
        return state, ()
    return replace(state, clear_at_s=None), (Clear(state.partner, state.cause),)


def _waiting(state: State, now_s: float, wanted: bool) -> Outcome:
    if not wanted:  # I2: the wait is dropped; a later start launches at once
        return replace(state, phase=Phase.ABSENT, since_s=now_s), ()
    if now_s >= state.launch_at_s:
        return _launch(state, state.cause, now_s)
    return state, ()


def _launch(state: State, cause: Cause, now_s: float) -> Outcome:
    """Keep I1 and I5: in CLEARING until the launch reports Seen or Cleared, so that nothing launches twice."""
    launching = replace(state, phase=Phase.CLEARING, since_s=now_s, partner=None, cause=cause)
    return launching, (Launch(cause),)
