"""Who is logged in, who is renewed, who is forgotten: pure, the time is passed in."""

import pytest

from snsnode.base.errors import AlreadyDone, Exhausted, Full, SessionLost, SnsError
from snsnode.base.ids import ClientId, UserName
from snsnode.social import sessions as module
from snsnode.social.sessions import LEASE_S, TIMELINES_MAX, Sessions
from snsnode.store.protocol import Login

ANN = Login(UserName("ann"), ClientId("a1"))
ANN_ELSEWHERE = Login(UserName("ann"), ClientId("a2"))
BOB = Login(UserName("bob"), ClientId("b1"))
CAT = Login(UserName("cat"), ClientId("c1"))


class Stream:
    def __init__(self) -> None:
        self.error: SnsError | None = None
        self.told: list[bool] = []

    def tell(self, leaving: bool) -> None:
        self.told.append(leaving)

    def end(self, error: SnsError) -> None:
        self.error = self.error or error


def logged_in(*logins: Login, now_s: float = 0.0) -> Sessions:
    sessions = Sessions()
    for login in logins:
        sessions.add(login, now_s)
    return sessions


def renew(sessions: Sessions, now_s: float, lost: frozenset[Login] = frozenset()) -> set[Login]:
    asked = sessions.to_renew()
    sessions.renewed(asked, lost, now_s)
    sessions.drop_idle(now_s)
    return set(asked)


def test_caller_that_is_not_logged_in_here_is_told_to_log_in() -> None:
    sessions = logged_in(ANN)
    assert sessions.use(ANN, 0.0).login == ANN
    for stranger in (BOB, ANN_ELSEWHERE):
        with pytest.raises(SessionLost, match="log in first"):
            sessions.use(stranger, 0.0)


def test_login_with_an_open_stream_is_renewed_each_time() -> None:
    sessions = logged_in(ANN, BOB)
    sessions.open_link(sessions.use(ANN, 0.0), Stream())
    sessions.open_timeline(sessions.use(BOB, 0.0), Stream())
    for now_s in range(1, 20):
        assert renew(sessions, now_s) == {ANN, BOB}


def test_login_without_a_stream_is_renewed_once_after_each_use_then_dropped() -> None:
    sessions = logged_in(ANN)
    assert renew(sessions, 1.0) == {ANN}
    assert renew(sessions, 2.0) == set()
    sessions.use(ANN, 2.5)
    assert renew(sessions, 3.0) == {ANN}
    assert renew(sessions, 2.5 + LEASE_S) == set()
    assert len(sessions) == 1
    renew(sessions, 2.6 + LEASE_S)
    assert len(sessions) == 0


def test_dead_client_is_not_renewed_after_its_stream_broke() -> None:
    sessions, stream = logged_in(ANN), Stream()
    session = sessions.use(ANN, 0.0)
    sessions.open_link(session, stream)
    assert renew(sessions, 10.0) == {ANN}
    sessions.close(session, stream, 10.5)
    assert renew(sessions, 11.0) == set()
    renew(sessions, 10.6 + LEASE_S)
    assert len(sessions) == 0


def test_login_that_the_store_gave_away_is_forgotten_and_its_streams_end() -> None:
    sessions, link, timeline = logged_in(ANN, BOB), Stream(), Stream()
    session = sessions.use(ANN, 0.0)
    sessions.open_link(session, link)
    sessions.open_timeline(session, timeline)
    renew(sessions, 1.0, frozenset({ANN}))
    assert isinstance(link.error, SessionLost)
    assert isinstance(timeline.error, SessionLost)
    assert len(sessions) == 1


def test_loss_reported_from_before_a_new_login_is_ignored() -> None:
    sessions = logged_in(ANN)
    asked = sessions.to_renew()
    sessions.add(ANN, 1.5)  # granted while the renewal was under way
    sessions.renewed(asked, frozenset({ANN}), 1.0)
    assert sessions.use(ANN, 2.0)


def test_use_during_a_renewal_counts_for_the_next_one() -> None:
    sessions = logged_in(ANN)
    asked = sessions.to_renew()
    sessions.use(ANN, 1.5)
    sessions.renewed(asked, frozenset(), 1.0)
    assert sessions.to_renew() == (ANN,)


def test_name_granted_to_another_client_ends_the_first() -> None:
    sessions, link = logged_in(ANN), Stream()
    sessions.open_link(sessions.use(ANN, 0.0), link)
    sessions.add(ANN_ELSEWHERE, 9.0)
    assert isinstance(link.error, SessionLost)
    assert len(sessions) == 1
    with pytest.raises(SessionLost):
        sessions.use(ANN, 9.0)


def test_same_client_logging_in_again_keeps_its_streams() -> None:
    sessions, link = logged_in(ANN), Stream()
    sessions.open_link(sessions.use(ANN, 0.0), link)
    sessions.add(ANN, 1.0)
    assert link.error is None


def test_newer_session_stream_counts_and_the_end_of_the_older_changes_nothing() -> None:
    sessions, older, newer = logged_in(ANN), Stream(), Stream()
    session = sessions.use(ANN, 0.0)
    sessions.open_link(session, older)
    sessions.open_link(session, newer)
    assert isinstance(older.error, AlreadyDone)
    sessions.close(session, older, 1.0)
    assert newer.error is None
    renew(sessions, 50.0)
    assert renew(sessions, 100.0) == {ANN}


def test_oldest_timeline_ends_where_one_login_opens_too_many() -> None:
    sessions = logged_in(ANN)
    streams = [Stream() for _ in range(TIMELINES_MAX + 1)]
    for stream in streams:
        sessions.open_timeline(sessions.use(ANN, 0.0), stream)
    assert [type(stream.error) for stream in streams] == [Exhausted] + [type(None)] * TIMELINES_MAX


def test_logout_ends_streams_of_this_client_only() -> None:
    sessions, link = logged_in(ANN), Stream()
    sessions.open_link(sessions.use(ANN, 0.0), link)
    sessions.remove(ANN_ELSEWHERE)
    assert len(sessions) == 1
    sessions.remove(ANN)
    assert isinstance(link.error, SessionLost)
    assert len(sessions) == 0


def test_full_server_takes_no_new_client_but_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 1)
    sessions = logged_in(ANN)
    with sessions.room_for(ANN, None, 0.0):
        pass
    with pytest.raises(Full, match="1 clients, its limit"), sessions.room_for(BOB, None, 0.0):
        pass


def test_logins_that_the_store_has_not_answered_take_room_and_give_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    sessions = logged_in(ANN)
    with sessions.room_for(BOB, None, 0.0), pytest.raises(Full), sessions.room_for(CAT, None, 0.0):
        pass
    with sessions.room_for(CAT, None, 0.0):
        sessions.add(CAT, 0.0)
    with pytest.raises(Full), sessions.room_for(BOB, None, 0.0):
        pass


def test_names_that_never_come_back_make_room_and_those_that_are_held_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    sessions = logged_in(ANN, BOB)
    sessions.open_link(sessions.use(ANN, 0.0), Stream())
    with pytest.raises(Full), sessions.room_for(CAT, None, module.LEFT_S):
        pass
    with sessions.room_for(CAT, None, 2 * module.LEFT_S):
        sessions.add(CAT, 2 * module.LEFT_S)
    assert len(sessions) == 2
    sessions.use(ANN, 2 * module.LEFT_S)
    with pytest.raises(SessionLost):
        sessions.use(BOB, 2 * module.LEFT_S)


def test_one_address_has_so_many_logins_and_gets_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OF_ONE_ADDRESS_MAX", 1)
    sessions, address = Sessions(), "192.0.2.1"
    for _ in range(3):
        with sessions.room_for(ANN, address, 0.0):
            sessions.add(ANN, 0.0, address)
        with pytest.raises(Full, match="of your address"), sessions.room_for(BOB, address, 0.0):
            pass
        with sessions.room_for(BOB, "192.0.2.2", 0.0):
            pass
        sessions.remove(ANN)


def test_all_are_told_that_the_server_leaves_and_that_it_stays() -> None:
    sessions = logged_in(ANN, BOB)
    anns, bobs = Stream(), Stream()
    sessions.open_link(sessions.use(ANN, 0.0), anns)
    sessions.announce_leaving(True)
    sessions.open_link(sessions.use(BOB, 0.0), bobs)  # who comes later is told, too
    sessions.announce_leaving(False)
    assert (anns.told, bobs.told) == ([True, False], [True, False])


def test_who_moved_away_is_no_longer_present() -> None:
    sessions = logged_in(ANN, BOB)
    assert sessions.present == 2
    link, newer = Stream(), Stream()
    session = sessions.use(ANN, 0.0)
    sessions.open_link(session, link)
    sessions.close(session, link, 1.0)
    assert (sessions.present, len(sessions)) == (1, 2)
    sessions.use(ANN, 2.0)
    sessions.open_link(session, newer)
    sessions.close(session, link, 2.1)  # the end of the older one
    assert sessions.present == 2


def test_who_logs_in_again_is_present_again() -> None:
    sessions = logged_in(ANN)
    link = Stream()
    session = sessions.use(ANN, 0.0)
    sessions.open_link(session, link)
    sessions.close(session, link, 1.0)
    sessions.add(ANN, 2.0)
    assert sessions.present == 1
