"""When clients are told to leave, and how long a planned end waits for them, without a clock."""

import pytest

from snsnode.master import departure
from snsnode.master.departure import ASK_EVERY_S, MOVE_WITHIN_S, TELL_EVERY_S, End, Notice


@pytest.mark.parametrize(
    ("drained", "ending", "leaving", "turn"),
    [
        (True, False, False, True),
        (True, False, True, None),
        (False, False, True, False),
        (False, False, False, None),
        (False, True, True, None),  # who ends does not stay, whatever the mark says
    ],
)
def test_routers_are_told_what_changed(drained: bool, ending: bool, leaving: bool, turn: bool | None) -> None:
    assert departure.turn(drained=drained, ending=ending, leaving=leaving) is turn


def test_clients_are_told_to_move_while_they_can_and_again_in_a_while() -> None:
    notice, told = Notice().tell(may_move=True, now_s=1.0)
    assert told is True
    assert notice.tell(may_move=True, now_s=1.0 + TELL_EVERY_S / 2) == (notice, None)
    assert notice.tell(may_move=True, now_s=1.0 + TELL_EVERY_S)[1] is True


def test_clients_that_were_told_to_move_are_told_once_that_they_may_stay() -> None:
    notice, _ = Notice().tell(may_move=True, now_s=1.0)
    notice, told = notice.tell(may_move=False, now_s=1.1)
    assert told is False
    assert notice.tell(may_move=False, now_s=1.2) == (Notice(), None)


def test_an_end_waits_for_clients_that_can_move_and_not_for_ever() -> None:
    end = End.at(10.0)
    assert end.waits(clients=3, may_move=True, now_s=10.1)
    assert not end.waits(clients=0, may_move=True, now_s=10.1)
    assert not end.waits(clients=3, may_move=False, now_s=10.1)
    assert not end.waits(clients=3, may_move=True, now_s=10.0 + MOVE_WITHIN_S)


def test_an_end_asks_the_routers_again_meanwhile() -> None:
    end = End.at(10.0)
    assert end.ask(10.0 + ASK_EVERY_S / 2) is None
    asked = end.ask(10.1 + ASK_EVERY_S)
    assert asked is not None
    assert asked.began_s == 10.0
    assert asked.ask(10.2 + ASK_EVERY_S) is None
