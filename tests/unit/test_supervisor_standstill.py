"""When supervisord may end a frozen slave: only where nobody else will."""

import pytest

from snsnode.pair.machine import Cause
from snsnode.supervisord import guards
from snsnode.supervisord.standstill import GUARDS_S, LATE_S, Letters, Standstill, look

SILENCE_S = 3.0


class Turns:
    """supervisord's loop, once a second."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.before = Standstill()

    def turn(self, slave: str | None, master: str | None, spare: str | None = None, after_s: float = 1.0) -> bool:
        self.now_s += after_s
        self.before, end = look(self.before, Letters(slave, master, spare), self.now_s, SILENCE_S)
        return end

    def until_ended(self, slave: str | None, master: str | None, spare: str | None = None) -> float | None:
        """Return after how many seconds of this the slave is ended; None: not within a minute."""
        began_s = self.now_s
        while self.now_s < began_s + 60:
            if self.turn(slave, master, spare):
                return self.now_s - began_s - 1  # it was seen first after a second
        return None


@pytest.mark.parametrize("master", ["T", None])
def test_slave_frozen_beside_nobody_who_could_act_is_ended_after_the_silence(master: str | None) -> None:
    found_s = Turns().until_ended("T", master)
    assert found_s is not None and SILENCE_S < found_s <= SILENCE_S + 1


@pytest.mark.parametrize("guards", [("S", None), ("D", None), ("T", "S"), (None, "R"), ("T", "T")])
def test_slave_with_a_guard_is_left_to_it_for_long(guards: tuple[str | None, str | None]) -> None:
    """Also where spare, master and slave are frozen as one, as by somebody who means the whole VM."""
    found_s = Turns().until_ended("T", *guards)
    assert found_s is not None and GUARDS_S < found_s <= GUARDS_S + 1


@pytest.mark.parametrize("letters", [("S", "T", None), ("R", None, None), ("D", "T", "T"), (None, "T", None)])
def test_slave_that_is_not_frozen_is_left_alone(letters: tuple[str | None, str | None, str | None]) -> None:
    assert Turns().until_ended(*letters) is None


@pytest.mark.parametrize("letters", [("t", "T", None), ("T", "t", None), ("T", "T", "t"), ("t", "t", None)])
def test_debugged_pair_is_left_alone(letters: tuple[str | None, str | None, str | None]) -> None:
    assert Turns().until_ended(*letters) is None


def test_the_silence_counts_from_when_both_were_frozen() -> None:
    turns = Turns()
    for _ in range(5):
        assert not turns.turn("T", "S")
    found_s = turns.until_ended("T", "T")
    assert found_s is not None and SILENCE_S < found_s <= SILENCE_S + 1


def test_one_look_at_another_state_begins_anew() -> None:
    turns = Turns()
    for _ in range(20):
        for _ in range(3):
            assert not turns.turn("T", "T")
        assert not turns.turn("S", "T")


def test_what_was_seen_before_we_were_away_is_no_evidence() -> None:
    """As when a whole machine was suspended, and supervisord wakes first."""
    turns = Turns()
    assert not turns.turn("T", "T")
    for _ in range(20):
        assert not turns.turn("T", "T", after_s=LATE_S + 0.1)


def test_journal_says_it_in_the_pairs_own_words() -> None:
    assert Cause.STOPPED.value == guards.FROZEN
