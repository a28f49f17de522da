"""What holds for the client's retry machine whatever happens, and in a small world on a virtual clock."""

import heapq
import itertools
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from snsnode.base.errors import (
    AlreadyDone,
    DeadlineExceeded,
    InvalidInput,
    NotAllowed,
    NotFound,
    SessionLost,
    SnsError,
    StoreFailed,
    Unavailable,
)
from snsnode.client import retry
from snsnode.client.attempts import Attempts, judge
from snsnode.client.moves import (
    Answered,
    Ask,
    AskFailed,
    Begun,
    Enter,
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
from snsnode.client.rounds import ASK_TIMEOUT_S, HEDGE_S, Phase, State

SERVERS = [Server("vm2", "127.0.0.1", 3020, 1), Server("vm3", "127.0.0.1", 3030, 1)]
ROUTERS = ("r0:1", "r1:1", "r2:1")

servers = st.sampled_from(SERVERS)
routers = st.integers(0, len(ROUTERS) - 1)
passing = st.sampled_from([Unavailable("x"), DeadlineExceeded("x"), SessionLost("x"), StoreFailed("x")])
refusals = st.sampled_from([AlreadyDone("x"), NotFound("x"), NotAllowed("x"), InvalidInput("x")])
units = st.floats(0, 1, exclude_max=True)
events: st.SearchStrategy[Happened] = st.one_of(
    st.just(Wanted()),
    st.builds(Answered, routers, servers),
    st.builds(AskFailed, routers, st.just("x")),
    st.builds(LoggedIn, servers),
    st.builds(EnterFailed, servers, st.one_of(passing, refusals)),
    st.builds(Lost, passing),
    st.sampled_from([Slow(), Leaving(), Staying(), Queued(), Begun()]),
    st.just(Tick()),
)


@settings(deadline=None)
@given(st.lists(st.tuples(events, st.floats(0, 2), units), max_size=80))
def test_whatever_happens_the_search_neither_stalls_nor_multiplies(
    history: list[tuple[Happened, float, float]],
) -> None:
    state, now = State(ROUTERS), 0.0
    wake: float | None = None
    for event, passed_s, unit in history:
        now += passed_s
        if isinstance(event, Tick):
            now, wake = max(now, wake or 0.0), None
        before = state
        state, actions = retry.step(state, event, now, unit)
        asked = [action.router for action in actions if isinstance(action, Ask)]
        entered = [action for action in actions if isinstance(action, Enter)]
        for action in actions:
            wake = action.at if isinstance(action, Wake) else wake
            assert not isinstance(action, Wake) or action.at > now
        still_asked: frozenset[int] = frozenset() if StopAsking() in actions else before.asking
        assert not still_asked & set(asked), "a router is asked twice at once"
        assert len(asked) + len(entered) <= 1, "one step starts one thing"
        if state.phase is Phase.FIND:
            assert state.asking or state.entering or wake is not None, "nobody would ever wake the search"
        if state.phase is Phase.READY and state.leaving:
            assert state.asking or state.entering or wake is not None, "nobody would ever bring on the move"
        if any(isinstance(action, Use) and action.gently for action in actions):
            assert before.leaving, "only a server that leaves is left gently"
        if before.phase is Phase.READY and not isinstance(event, Lost):
            assert state.phase is Phase.READY, "only a loss parts a client from its server"
        if any(isinstance(action, Refuse) for action in actions):
            assert isinstance(event, EnterFailed)
            assert retry.ends_search(event.error)
            assert (state.phase, state.asking, state.entering) == (Phase.IDLE, frozenset(), None)


@settings(deadline=None)
@given(refusals, units, st.floats(0, 100))
def test_refused_call_is_never_repeated(error: SnsError, unit: float, now: float) -> None:
    verdict = judge(Attempts(until=30.0), error, now, unit)
    assert verdict.final
    assert not verdict.lost


@settings(deadline=None)
@given(
    st.floats(0.001, 100),
    st.lists(st.tuples(passing, units, st.floats(0, 1)), min_size=1, max_size=200),
)
def test_attempts_never_exceed_the_deadline(
    deadline_s: float, failures: list[tuple[SnsError, float, float]]
) -> None:
    attempts, now = Attempts(until=deadline_s), 0.0
    for error, unit, part in failures:
        now += attempts.timeout_s(now) * (1.0 if isinstance(error, DeadlineExceeded) else part)
        assert now <= deadline_s + 1e-6
        verdict = judge(attempts, error, now, unit)
        assert not verdict.final
        if verdict.pause_s is None:
            return
        attempts, now = verdict.attempts, now + verdict.pause_s
        assert now < deadline_s


@dataclass
class World:
    """Routers and servers on a virtual clock. A router answers with a server, says no, or is silent."""

    answers: list[Server | None]
    silent: frozenset[int]
    alive: frozenset[Server]
    unit: float
    state: State = field(default_factory=lambda: State(ROUTERS))
    now: float = 0.0
    asked: int = 0
    entered: int = 0

    def run(self, event: Happened, until_s: float) -> float | None:
        """Return when the client was ready, None where it was not within ``until_s``."""
        order = itertools.count()
        queue: list[tuple[float, int, Happened]] = [(self.now, next(order), event)]
        until_s += self.now
        wake = None
        while queue and queue[0][0] <= until_s:
            self.now, number, event = heapq.heappop(queue)
            if isinstance(event, Tick) and number != wake:
                continue
            self.state, actions = retry.step(self.state, event, self.now, self.unit)
            for action in actions:
                match action:
                    case Use():
                        return self.now
                    case Wake(at):
                        wake = next(order)
                        heapq.heappush(queue, (at, wake, Tick()))
                    case Ask(router):
                        self.asked += 1
                        after_s, reply = self._answer(router)
                        heapq.heappush(queue, (self.now + after_s, next(order), reply))
                    case Enter(server):
                        self.entered += 1
                        heapq.heappush(queue, (self.now + 0.005, next(order), self._login(server)))
        return None

    def _answer(self, router: int) -> tuple[float, Happened]:
        server = self.answers[router]
        if router in self.silent:
            return ASK_TIMEOUT_S, AskFailed(router, "silent")
        return (0.001, AskFailed(router, "none") if server is None else Answered(router, server))

    def _login(self, server: Server) -> Happened:
        if server in self.alive:
            return LoggedIn(server)
        return EnterFailed(server, Unavailable("refused"))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["none", "silent", "good"]), min_size=3, max_size=3), units)
def test_one_good_router_is_enough_and_is_found_in_time(kinds: list[str], unit: float) -> None:
    kinds[0] = "good" if "good" not in kinds else kinds[0]
    good = SERVERS[0]
    silent = frozenset(i for i, kind in enumerate(kinds) if kind == "silent")
    world = World([good if kind == "good" else None for kind in kinds], silent, frozenset([good]), unit)
    ready_at = world.run(Wanted(), 5.0)
    assert ready_at is not None
    assert ready_at <= HEDGE_S * 2 + 0.05


@settings(deadline=None)
@given(st.sampled_from([(), (0,), (0, 1, 2)]), units)
def test_nobody_alive_is_asked_at_a_bounded_rate(silent: tuple[int, ...], unit: float) -> None:
    world = World([SERVERS[0], SERVERS[1], None], frozenset(silent), frozenset(), max(unit, 0.1))
    assert world.run(Wanted(), 30.0) is None
    # The slowest back-off here waits 50 ms between rounds of at most three questions and one login.
    assert world.asked <= 30.0 / 0.05 * len(ROUTERS) + 60
    assert world.entered <= 30.0 / 0.05 + 20


@settings(deadline=None)
@given(units)
def test_server_that_comes_back_is_found_without_any_router(unit: float) -> None:
    home = SERVERS[0]
    world = World([home, home, home], frozenset(), frozenset([home]), unit)
    assert world.run(Wanted(), 1.0) is not None
    world.now += 10.0
    world.silent = frozenset([0, 1, 2])
    lost_at = world.now
    ready_at = world.run(Lost(Unavailable("reset")), 5.0)
    assert ready_at is not None
    assert ready_at - lost_at <= len(ROUTERS) * HEDGE_S + 0.05
