"""The retry machine, transition by transition: no clock, no socket."""

from collections.abc import Iterable

import grpc
import pytest

from snsnode.base.errors import (
    AlreadyDone,
    DeadlineExceeded,
    Exhausted,
    Fenced,
    Full,
    InvalidInput,
    NotFound,
    SessionLost,
    SnsError,
    StoreFailed,
    Unavailable,
)
from snsnode.client import retry
from snsnode.client.attempts import TIMEOUT_MAX_S, Attempts, judge
from snsnode.client.moves import (
    Action,
    Answered,
    Ask,
    AskFailed,
    Drop,
    Enter,
    EnterFailed,
    Happened,
    LoggedIn,
    Lost,
    Refuse,
    Server,
    Slow,
    StopAsking,
    Tick,
    Use,
    Wake,
    Wanted,
)
from snsnode.client.rounds import HEDGE_S, LOGIN_TIMEOUT_S, STEADY_S, Phase, State
from snsnode.transport.status import from_rpc

A = Server("vm2", "127.0.0.1", 3020, 4)
A_AGAIN = Server("vm2", "127.0.0.1", 3020, 5)
B = Server("vm3", "127.0.0.1", 3030, 1)
ONE = ("127.0.0.1:3010",)
TWO = ("127.0.0.1:3010", "127.0.0.1:3011")


CROWDED = grpc.aio.AioRpcError(  # as gRPC itself says it, without our code
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.aio.Metadata(),
    grpc.aio.Metadata(),
    details="Concurrent RPC limit exceeded!",
)


def after(state: State, *events: Happened, now: float = 0.0, unit: float = 0.5) -> tuple[State, list[Action]]:
    """Return the state after ``events`` and what the last one caused."""
    actions: Iterable[Action] = ()
    for event in events:
        state, actions = retry.step(state, event, now, unit)
    return state, list(actions)


def ready(routers: tuple[str, ...] = ONE, server: Server = A) -> State:
    state, _ = after(State(routers), Wanted(), Answered(0, server), LoggedIn(server))
    assert state.phase is Phase.READY
    return state


def kinds(actions: list[Action]) -> list[type]:
    return [type(action) for action in actions]


def test_first_want_asks_one_router_and_reports_nobody() -> None:
    _, actions = after(State(ONE), Wanted())
    assert actions == [Ask(0, None)]


def test_further_wants_share_the_search() -> None:
    state, _ = after(State(ONE), Wanted())
    for _ in range(10):
        state, actions = after(state, Wanted())
        assert actions == []


def test_answer_is_entered_and_then_used() -> None:
    state, actions = after(State(ONE), Wanted(), Answered(0, A))
    assert Enter(A, LOGIN_TIMEOUT_S) in actions
    state, actions = after(state, LoggedIn(A))
    assert state.phase is Phase.READY
    assert Use(A) in actions


def test_loss_asks_at_once_and_reports_the_lost_server_with_its_epoch() -> None:
    _, actions = after(ready(), Lost(Unavailable("reset")), now=10.0)
    assert actions[:2] == [Drop(), Ask(0, A)]


def test_server_that_cannot_be_entered_is_reported_next() -> None:
    state, _ = after(ready(), Lost(Unavailable("reset")), Answered(0, B), now=10.0)
    state, actions = after(state, EnterFailed(B, Unavailable("refused")), now=10.0)
    assert kinds(actions) == [Wake]
    _, actions = after(state, Tick(), now=10.1)
    assert actions[0] == Ask(0, B)


def test_pause_between_rounds_doubles_up_to_half_a_second() -> None:
    state, _ = after(ready(), Lost(Unavailable("reset")), now=10.0)
    pauses = []
    for _ in range(10):
        state, _ = after(state, AskFailed(0, "refused"), now=10.0)
        state, actions = after(state, EnterFailed(A, Unavailable("refused")), now=10.0, unit=0.999)
        (wake,) = actions
        assert isinstance(wake, Wake)
        pauses.append(wake.at - 10.0)
        state, _ = after(state, Tick(), now=10.0)
    assert pauses[0] == pytest.approx(0.02, rel=0.01)
    assert pauses[1] == pytest.approx(0.04, rel=0.01)
    assert pauses[-1] == pytest.approx(0.5, rel=0.01)


def test_silent_router_gets_company_after_the_hedge() -> None:
    state, actions = after(State(TWO), Wanted())
    assert actions == [Ask(0, None), Wake(HEDGE_S)]
    state, actions = after(state, Tick(), now=HEDGE_S)
    assert actions == [Ask(1, None)]
    assert state.asking == {0, 1}


def test_dead_router_is_left_at_once_and_the_next_search_begins_with_who_answered() -> None:
    state, actions = after(State(TWO), Wanted(), AskFailed(0, "refused"))
    assert actions == [Ask(1, None)]
    state, _ = after(state, Answered(1, A), LoggedIn(A))
    _, actions = after(state, Lost(Unavailable("reset")), now=10.0)
    assert actions[1] == Ask(1, A)


def test_router_that_answered_while_the_first_was_silent_is_asked_first_next_time() -> None:
    state, _ = after(State(TWO), Wanted(), Tick(), Answered(1, A), LoggedIn(A))
    _, actions = after(state, Lost(Unavailable("reset")), now=10.0)
    assert actions[1] == Ask(1, A)


def test_late_answer_of_a_slower_router_changes_nothing() -> None:
    state, _ = after(State(TWO), Wanted(), Tick(), Answered(1, A))
    assert after(state, Answered(0, B)) == (state, [])
    assert after(state, AskFailed(0, "late")) == (state, [])


def test_without_routers_the_last_server_is_tried_itself() -> None:
    state, _ = after(ready(), Lost(Unavailable("reset")), now=10.0)
    state, actions = after(state, AskFailed(0, "refused"), now=10.0)
    assert kinds(actions) == [Enter, Wake]
    assert state.entering == A


def test_black_holed_router_does_not_keep_the_last_server_from_being_tried() -> None:
    state, actions = after(ready(), Lost(Unavailable("reset")), now=10.0)
    assert actions[-1] == Wake(10.0 + HEDGE_S)
    state, actions = after(state, Tick(), now=10.3)
    assert kinds(actions) == [Enter, Wake]
    assert state.asking == {0}


def test_answer_replaces_a_try_of_the_last_server() -> None:
    state, _ = after(ready(), Lost(Unavailable("reset")), Tick(), now=10.0)
    state, actions = after(state, Answered(0, B), now=10.0)
    assert kinds(actions) == [StopAsking, Enter, Wake]
    assert state.entering == B
    assert after(state, LoggedIn(A)) == (state, [])


def test_answer_that_names_the_server_being_entered_leaves_it_alone() -> None:
    state, _ = after(ready(), Lost(Unavailable("reset")), Tick(), now=10.0)
    _, actions = after(state, Answered(0, A), now=10.0)
    assert actions == [StopAsking()]


@pytest.mark.parametrize("error", [AlreadyDone("taken"), InvalidInput("bad"), Exhausted("full")])
def test_refused_login_ends_the_search_for_everybody(error: SnsError) -> None:
    state, actions = after(State(ONE), Wanted(), Answered(0, A), EnterFailed(A, error))
    assert actions == [StopAsking(), Refuse(error)]
    assert state.phase is Phase.IDLE
    _, actions = after(state, Wanted())
    assert actions[0] == Ask(0, A)


@pytest.mark.parametrize("error", [Full("no room"), from_rpc(CROWDED)])
def test_full_server_is_not_blamed_and_routers_are_asked_for_another(error: SnsError) -> None:
    state, actions = after(State(ONE), Wanted(), Answered(0, A), EnterFailed(A, error))
    assert kinds(actions) == [Wake]
    state, actions = after(state, Tick())
    assert actions == [Ask(0, None, (A,))]
    state, actions = after(state, Answered(0, B))
    assert state.entering == B
    state, _ = after(state, EnterFailed(B, error), Tick())
    assert state.full == (A, B)
    state, _ = after(state, Answered(0, A), LoggedIn(A))
    assert (state.phase, state.full) == (Phase.READY, ())


def test_link_whose_server_is_full_is_left_without_blame() -> None:
    _, actions = after(ready(), Lost(Full("no room")), now=10.0)
    assert actions[:2] == [Drop(), Ask(0, None, (A,))]


def test_call_that_finds_no_room_is_repeated_elsewhere() -> None:
    verdict = judge(Attempts(until=10.0), Full("no room"), 0.0, 0.5)
    assert (verdict.lost, verdict.final, verdict.pause_s) == (True, False, 0.0)


def test_lost_session_is_logged_in_again_at_the_same_server() -> None:
    state, actions = after(ready(), Lost(SessionLost("who are you")), now=10.0)
    assert kinds(actions) == [Drop, Enter, Wake]
    assert state.entering == A


def test_session_lost_again_and_again_is_not_hammered() -> None:
    _, actions = after(ready(), Lost(SessionLost("who are you")), now=STEADY_S / 2)
    assert kinds(actions) == [Drop, Wake]


def test_second_loss_within_a_moment_pauses_first() -> None:
    _, actions = after(ready(), Lost(Unavailable("reset")), now=STEADY_S / 2)
    assert kinds(actions) == [Drop, Wake]


def test_slow_server_is_reported_while_its_link_stays_in_use() -> None:
    state, actions = after(ready(), Slow(), now=10.0)
    assert actions[0] == Ask(0, A)
    assert state.phase is Phase.READY


def test_server_in_doubt_is_kept_when_a_router_stands_by_it() -> None:
    state, actions = after(ready(), Slow(), Answered(0, A), now=10.0)
    assert actions == [StopAsking()]
    assert (state.phase, state.server) == (Phase.READY, A)
    assert after(state, Slow(), now=10.1)[1] == []
    assert after(state, Slow(), now=11.1)[1] != []


@pytest.mark.parametrize("other", [B, A_AGAIN])
def test_server_in_doubt_is_left_when_a_router_names_another(other: Server) -> None:
    state, actions = after(ready(), Slow(), Answered(0, other), now=10.0)
    assert kinds(actions) == [StopAsking, Enter, Wake]
    assert state.phase is Phase.READY  # until the other has taken us
    state, actions = after(state, LoggedIn(other), now=10.0)
    assert Use(other) in actions


def test_silent_routers_never_part_a_client_from_its_server() -> None:
    state, actions = after(ready(TWO), Slow(), now=10.0)
    for event in (AskFailed(0, "dead"), AskFailed(1, "dead"), Tick(), Tick()):
        state, actions = after(state, event, now=20.0)
    assert actions == []
    assert (state.phase, state.server) == (Phase.READY, A)


def test_loss_of_a_server_in_doubt_goes_on_with_the_search_under_way() -> None:
    state, actions = after(ready(), Slow(), Lost(Unavailable("reset")), now=10.0)
    assert kinds(actions) == [Drop, Wake]
    assert state.asking == {0}
    state, actions = after(state, Answered(0, B), now=10.0)
    assert kinds(actions) == [StopAsking, Enter, Wake]


def test_refused_move_keeps_the_link_that_still_serves() -> None:
    state, _ = after(ready(), Slow(), Answered(0, B), EnterFailed(B, AlreadyDone("taken")), now=10.0)
    assert (state.phase, state.server) == (Phase.READY, A)


def test_slow_login_is_reported_once_and_goes_on() -> None:
    state, _ = after(State(ONE), Wanted(), Answered(0, A))
    state, actions = after(state, Tick(), now=0.5)
    assert actions == [Ask(0, A)]
    assert state.entering == A


def test_login_that_timed_out_gets_more_time() -> None:
    state = State(ONE)
    times = []
    for _ in range(5):
        state, actions = after(state, Wanted(), Tick(), Answered(0, A))
        times += [action.timeout_s for action in actions if isinstance(action, Enter)]
        state, _ = after(state, EnterFailed(A, DeadlineExceeded("slow")))
    assert times == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_message_names_who_was_tried_and_why_each_failed() -> None:
    state, _ = after(State(TWO), Wanted(), AskFailed(0, "Connection refused"), Answered(1, A))
    state, _ = after(state, EnterFailed(A, Unavailable("reset")))
    assert retry.tried(state) == (
        "routers 127.0.0.1:3010: Connection refused, 127.0.0.1:3011: no answer yet; server 127.0.0.1:3020: reset"
    )


# --- one call's attempts ------------------------------------------------------------------------------------

CALL = Attempts(until=30.0)


@pytest.mark.parametrize("error", [InvalidInput("x"), NotFound("x"), AlreadyDone("x"), Exhausted("x"), SnsError()])
def test_refusal_is_final(error: SnsError) -> None:
    assert judge(CALL, error, 0.0, 0.5).final


@pytest.mark.parametrize("error", [Unavailable("x"), SessionLost("x"), Fenced("x")])
def test_broken_link_is_left_and_the_call_repeated_at_once(error: SnsError) -> None:
    verdict = judge(CALL, error, 0.0, 0.99)
    assert (verdict.pause_s, verdict.lost, verdict.final) == (0.0, True, False)


def test_failing_store_is_tried_again_over_the_same_link() -> None:
    verdict = judge(CALL, StoreFailed("I/O error"), 0.0, 0.5)
    assert (verdict.pause_s, verdict.lost) == (0.0, False)


def test_link_is_left_after_a_second_timeout_and_each_attempt_gets_more_time() -> None:
    attempts, lost, times = CALL, [], []
    for _ in range(5):
        times.append(attempts.timeout_s(0.0))
        verdict = judge(attempts, DeadlineExceeded("slow"), 0.0, 0.5)
        attempts = verdict.attempts
        lost.append(verdict.lost)
    assert lost == [False, True, True, True, True]
    assert times == [1.0, 2.0, 4.0, TIMEOUT_MAX_S, TIMEOUT_MAX_S]


def test_no_attempt_outlives_the_deadline() -> None:
    assert CALL.timeout_s(29.75) == 0.25
    assert CALL.timeout_s(31.0) == 0.0
    assert judge(CALL, Unavailable("x"), 30.0, 0.5).pause_s is None
