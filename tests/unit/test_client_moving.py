"""The retry machine when the server in use says that it leaves, and while clients of a process wait their turn."""

import pytest

from snsnode.base.errors import AlreadyDone, DeadlineExceeded, SessionLost, SnsError, Unavailable
from snsnode.client.moves import (
    Answered,
    Ask,
    AskFailed,
    Begun,
    Enter,
    EnterFailed,
    Leaving,
    LoggedIn,
    Lost,
    Queued,
    Slow,
    Staying,
    StopAsking,
    Tick,
    Use,
    Wake,
    Wanted,
)
from snsnode.client.rounds import HEDGE_S, LOGIN_SLOW_S, MOVE_AGAIN_S, MOVE_SPREAD_S, TURN_MAX_S, Phase, State
from tests.unit.test_client_retry import TWO, A, B, after, kinds, ready


def test_server_that_leaves_is_asked_about_within_the_spread_and_without_blame() -> None:
    asked_at = []
    for unit in (0.0, 0.5, 0.999):
        state, (wake,) = after(ready(), Leaving(), now=10.0, unit=unit)
        assert isinstance(wake, Wake)
        asked_at.append(wake.at - 10.0)
        _, actions = after(state, Tick(), now=wake.at)
        assert actions == [Ask(0, None)]
    assert 0 < asked_at[0] < asked_at[1] < asked_at[2] < MOVE_SPREAD_S


def test_old_link_is_in_use_until_the_other_server_has_taken_us_and_is_left_gently() -> None:
    state, actions = after(ready(), Leaving(), Tick(), Answered(0, B), now=10.0)
    assert kinds(actions) == [StopAsking, Enter, Wake]
    assert (state.phase, state.server) == (Phase.READY, A)
    state, actions = after(state, LoggedIn(B), now=10.1)
    assert Use(B, gently=True) in actions
    assert (state.phase, state.server, state.leaving) == (Phase.READY, B, False)


def test_server_that_leaves_and_is_the_only_one_is_kept_and_asked_about_again_and_again() -> None:
    state, now, pauses = ready(), 10.0, []
    state, _ = after(state, Leaving(), now=now)
    for unit in (0.0, 0.5, 0.999):
        state, actions = after(state, Tick(), now=now)
        assert actions == [Ask(0, None)]
        state, actions = after(state, Answered(0, A), now=now, unit=unit)
        assert kinds(actions) == [StopAsking, Wake]
        assert isinstance(actions[1], Wake)
        pauses.append(actions[1].at - now)
        now = actions[1].at
    assert pauses == pytest.approx([0.5 * MOVE_AGAIN_S, MOVE_AGAIN_S, 1.5 * MOVE_AGAIN_S], rel=0.01)


@pytest.mark.parametrize("error", [Unavailable("reset"), DeadlineExceeded("slow"), AlreadyDone("taken")])
def test_failed_move_keeps_the_link_and_is_tried_again(error: SnsError) -> None:
    state, actions = after(ready(), Leaving(), Tick(), Answered(0, B), EnterFailed(B, error), now=10.0)
    assert (state.phase, state.server, state.leaving) == (Phase.READY, A, True)
    assert isinstance(actions[-1], Wake)
    assert after(state, Tick(), now=11.0)[1] == [Ask(0, None)]


def test_silent_routers_keep_a_leaving_server_in_use_and_are_asked_again() -> None:
    state, _ = after(ready(TWO), Leaving(), Tick(), AskFailed(0, "dead"), now=10.0)
    state, actions = after(state, AskFailed(1, "dead"), now=10.0)
    assert kinds(actions) == [Wake]
    assert (state.phase, state.server) == (Phase.READY, A)


def test_server_that_stays_after_all_is_asked_about_no_more() -> None:
    state, _ = after(ready(), Leaving(), Staying(), now=10.0)
    assert after(state, Tick(), now=10.3)[1] == []


def test_repeated_notice_changes_nothing() -> None:
    state, _ = after(ready(), Leaving(), now=10.0)
    assert after(state, Leaving(), now=10.1) == (state, [])


def test_notice_during_a_search_for_doubt_is_served_by_it() -> None:
    state, actions = after(ready(), Slow(), Leaving(), now=10.0)
    assert actions == []
    _, actions = after(state, Answered(0, A), now=10.1)
    assert kinds(actions) == [StopAsking, Wake]


def test_link_in_doubt_is_not_left_gently() -> None:
    """Calls that hang at a frozen server are to be repeated at once."""
    _, actions = after(ready(), Leaving(), Slow(), Answered(0, B), LoggedIn(B), now=10.0)
    assert Use(B, gently=False) in actions


def test_loss_of_a_leaving_server_goes_on_with_the_move_under_way() -> None:
    state, _ = after(ready(), Leaving(), Tick(), Answered(0, B), Lost(Unavailable("reset")), now=10.0)
    assert (state.phase, state.entering, state.leaving) == (Phase.FIND, B, False)
    _, actions = after(state, LoggedIn(B), now=10.0)
    assert Use(B, gently=False) in actions


def test_lost_login_at_a_leaving_server_is_an_ordinary_loss() -> None:
    state, actions = after(ready(), Leaving(), Lost(SessionLost("who are you")), now=10.0)
    assert (state.phase, state.leaving) == (Phase.FIND, False)
    assert Enter(A, 1.0) in actions


def test_notice_of_a_server_that_is_lost_already_changes_nothing() -> None:
    state, _ = after(ready(), Lost(Unavailable("reset")), now=10.0)
    assert after(state, Leaving(), now=10.0) == (state, [])


# --- turns --------------------------------------------------------------------------------------------------


def test_question_that_waits_its_turn_is_not_hedged_before_it_is_sent() -> None:
    state, actions = after(State(TWO), Wanted(), Queued(), now=5.0)
    assert actions == [Wake(5.0 + TURN_MAX_S)]
    _, actions = after(state, Begun(), now=7.0)
    assert actions == [Wake(7.0 + HEDGE_S)]


def test_login_that_waits_its_turn_is_not_slow_before_it_is_sent() -> None:
    state, actions = after(State(TWO), Wanted(), Answered(0, A), Queued(), now=5.0)
    assert actions == [Wake(5.0 + TURN_MAX_S)]
    _, actions = after(state, Begun(), now=7.0)
    assert actions == [Wake(7.0 + LOGIN_SLOW_S)]


def test_turn_that_comes_after_the_answer_wakes_nobody() -> None:
    assert after(ready(), Queued())[1] == []
    assert after(ready(), Begun())[1] == []
