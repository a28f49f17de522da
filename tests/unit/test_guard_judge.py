"""The judge and its table: who may end or launch whom, after how long, and what is no evidence."""

from dataclasses import replace

import pytest

from snsnode.guard import times
from snsnode.guard.invariants import by_judge
from snsnode.guard.judge import Action, Memory, judge, late_s
from snsnode.guard.machine import Cause
from snsnode.guard.table import FROZEN, TABLE, Act
from snsnode.guard.times import SHIPPED, SHORTEST, Times
from snsnode.guard.view import Me, View
from snsnode.node.places import EMPTY, UNKNOWN, Seen
from snsnode.node.process import Identity

SLAVE, MASTER, SPARE = (Identity(pid, 1, "boot") for pid in (11, 22, 33))
SILENCE_S = SHIPPED.silence_s


def seen(identity: Identity, letter: str = "S", progress: int | None = None, answers: bool | None = None) -> Seen:
    return Seen(identity, True, letter, progress, answers)


def pair(slave: str | None = None, master: str | None = None, spare: str | None = None) -> View:
    """A pair by its process states; None where there is no process."""

    def place(who: Identity, letter: str | None) -> Seen:
        return EMPTY if letter is None else seen(who, letter)

    return View(place(SLAVE, slave), place(MASTER, master), place(SPARE, spare))


class Looks:
    """One observer's looks, each ``every_s`` after the one before."""

    def __init__(self, me: Me, settings: Times = SHIPPED) -> None:
        self.me, self.settings = me, settings
        self.every_s = times.SUPERVISORD_TICK_S if me is Me.SUPERVISORD else times.TICK_S
        self.now_s = 1000.0
        self.memory = Memory()

    def look(self, view: View, after_s: float | None = None) -> tuple[Action, ...]:
        self.now_s += self.every_s if after_s is None else after_s
        before = self.memory
        self.memory, actions = judge(before, view, self.me, self.now_s, self.settings)
        assert by_judge(before, view, self.me, self.now_s, self.settings, self.memory, actions) == []
        return actions

    def until(self, view: View, act: Act, within_s: float = 60.0) -> float | None:
        """Return after how many seconds of this view ``act`` comes; None where it does not, within a minute."""
        began_s = self.now_s + self.every_s
        while self.now_s < began_s + within_s:
            if any(action.act is act for action in self.look(view)):
                return round(self.now_s - began_s, 3)
        return None


# --- a slave that hangs, seen by supervisord --------------------------------------------------------------------


@pytest.mark.parametrize("master", ["T", None])
def test_slave_frozen_beside_nobody_who_could_act_is_ended_after_the_silence(master: str | None) -> None:
    assert Looks(Me.SUPERVISORD).until(pair("T", master), Act.END) == SILENCE_S


@pytest.mark.parametrize("others", [("S", None), ("D", None), ("T", "S"), (None, "R"), ("T", "T")])
def test_slave_with_a_guard_is_left_to_it_for_long(others: tuple[str | None, str | None]) -> None:
    """Also where spare, master and slave are frozen as one, as by somebody who means the whole VM."""
    assert Looks(Me.SUPERVISORD).until(pair("T", *others), Act.END) == SHIPPED.supervisord_s


@pytest.mark.parametrize("letters", [("S", "T", None), ("R", "S", None), ("D", "T", "T")])
def test_slave_that_is_not_frozen_is_left_alone(letters: tuple[str, str | None, str | None]) -> None:
    assert Looks(Me.SUPERVISORD).until(pair(*letters), Act.END) is None


@pytest.mark.parametrize("letters", [("t", "T", None), ("T", "t", None), ("T", "T", "t"), ("t", "t", None)])
def test_debugged_pair_is_left_alone(letters: tuple[str, str | None, str | None]) -> None:
    assert Looks(Me.SUPERVISORD).until(pair(*letters), Act.END) is None


def test_one_look_at_another_state_begins_anew() -> None:
    looks = Looks(Me.SUPERVISORD)
    for _ in range(20):
        for _ in range(3):
            assert not looks.look(pair("T", "T"))
        assert not looks.look(pair("S", "T"))


def test_slave_that_waits_for_its_disk_is_not_called_idle() -> None:
    assert Looks(Me.SUPERVISORD).until(pair("D"), Act.END) is None
    assert Looks(Me.SUPERVISORD).until(pair("S"), Act.END) == times.IDLE_S


def test_counter_that_moves_is_no_standstill() -> None:
    looks = Looks(Me.SUPERVISORD)
    for count in range(60):
        assert not looks.look(View(seen(SLAVE, progress=count), seen(MASTER)))
    assert looks.until(View(seen(SLAVE, progress=60), seen(MASTER)), Act.END) == SHIPPED.supervisord_s


def test_all_conditions_of_one_that_was_ended_begin_anew() -> None:
    """Both that it does not move and that it brings no master up: one signal for one process."""
    looks = Looks(Me.SUPERVISORD)
    view = View(seen(SLAVE, progress=1))
    assert looks.until(view, Act.END) == SHIPPED.supervisord_s
    assert looks.memory.held == ()


# --- a slave that is missing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "after_s"),
    [
        (pair(), 0.0),
        (pair(None, "S"), times.LAST_RESORT_S),
        (pair(None, "T"), times.SUPERVISORD_TICK_S),
        (pair(None, "S", "S"), SHIPPED.supervisord_s),
        (pair(None, None, "S"), None),
        (pair("S", None, None), None),
        (replace(pair(), slave=Seen(taken=True)), None),
        (replace(pair(), master=Seen(taken=True)), times.LAST_RESORT_S),
        (replace(pair(), wanted=frozenset()), None),
        (replace(pair(), waits=True), None),
    ],
)
def test_supervisord_launches_a_slave_where_nobody_else_will(view: View, after_s: float | None) -> None:
    assert Looks(Me.SUPERVISORD).until(view, Act.LAUNCH_SLAVE) == after_s


def test_supervisord_launches_nobody_but_slaves() -> None:
    acts = {(row.act, row.place.value) for row in TABLE if row.me is Me.SUPERVISORD}
    assert acts == {(Act.END, "slave"), (Act.END, "spare"), (Act.LAUNCH_SLAVE, "slave")}


def test_frozen_spare_without_a_slave_is_ended_at_once_and_a_silent_one_after_the_longest_wait() -> None:
    assert Looks(Me.SUPERVISORD).until(pair(None, None, "T"), Act.END) == 0.0
    assert Looks(Me.SUPERVISORD).until(pair(None, None, "S"), Act.END) == SHIPPED.waited_out_s
    assert Looks(Me.SUPERVISORD).until(pair(None, None, "t"), Act.END) is None


# --- a spare's judgement ----------------------------------------------------------------------------------------


def test_spare_ends_its_slave_after_the_masters_patience_and_an_interval() -> None:
    looks = Looks(Me.SPARE)
    view = View(seen(SLAVE, answers=False), seen(MASTER), ours=SLAVE)
    assert looks.until(view, Act.END) == SHIPPED.spare_s
    assert looks.until(replace(view, slave=seen(SLAVE, answers=True)), Act.END) is None
    assert looks.until(replace(view, slave=seen(SLAVE, "t", answers=False)), Act.END) is None
    assert looks.until(replace(view, ours=None), Act.END) is None


def test_spare_alone_rescues_leaves_or_brings_a_slave() -> None:
    alone = replace(pair(), alone=True, ours=SLAVE)
    assert Looks(Me.SPARE).until(alone, Act.RESCUE) == 0.0
    assert Looks(Me.SPARE).until(replace(alone, master=Seen(taken=True)), Act.RESCUE) is None
    assert Looks(Me.SPARE).until(replace(alone, master=seen(MASTER)), Act.LAUNCH_SLAVE) == SHIPPED.partner_s
    assert Looks(Me.SPARE).until(replace(alone, slave=seen(MASTER)), Act.LEAVE) == 0.0
    assert Looks(Me.SPARE).until(replace(alone, leaving=frozenset({"slave"})), Act.LEAVE) == 0.0
    assert Looks(Me.SPARE).until(replace(alone, wanted=frozenset()), Act.RESCUE) is None  # paused


def test_spare_beside_its_slave_does_nothing() -> None:
    view = View(seen(SLAVE, answers=True), ours=SLAVE)
    for act in Act:
        assert Looks(Me.SPARE).until(view, act) is None


# --- a slave's judgement of spares ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "after_s"),
    [
        (replace(pair(None, "S", "T"), ours=SPARE), times.TICK_S),
        (replace(pair(None, "S", "S"), ours=SPARE), None),
        (replace(pair(None, "S", "S"), ours=None), times.STRANGER_S),
        (replace(pair(None, "S", "t"), ours=None), None),
        (replace(pair(None, None, "T"), ours=SPARE), None),
        (replace(pair(), sent=SPARE), times.TAKES_OVER_S),
        (replace(pair(None, "S"), sent=SPARE), None),
        (replace(pair(None, "S", "S"), dismissed=SPARE), times.SEND_OFF_S),
        (replace(pair(None, "S"), born=SPARE), times.START_S),
    ],
)
def test_slave_ends_a_spare_that_is_of_no_use(view: View, after_s: float | None) -> None:
    assert Looks(Me.SLAVE).until(view, Act.END) == after_s


# --- whoever launched it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("me", [Me.SUPERVISORD, Me.SPARE, Me.SLAVE])
def test_child_that_never_reaches_its_lock_is_ended_by_its_parent(me: Me) -> None:
    """Nobody else can find it: it was stopped, or hangs, while it started."""
    looks = Looks(me)
    view = View(Seen(taken=True), seen(MASTER), born=SPARE)
    assert looks.until(view, Act.END) == times.START_S
    assert looks.until(replace(view, born=None), Act.END) is None


# --- what is no evidence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("me", [Me.SLAVE, Me.SPARE, Me.SUPERVISORD])
def test_what_was_seen_before_the_observer_was_away_is_no_evidence(me: Me) -> None:
    """As when a whole machine was suspended, and this observer wakes first."""
    looks = Looks(me)
    view = replace(View(seen(SLAVE, "T", 7, False), seen(MASTER, "T"), seen(SPARE, "T"), ours=SLAVE), born=SPARE)
    for _ in range(100):
        looks.memory = Memory(looks.memory.held, looks.memory.looked_s)
        actions = looks.look(view, after_s=late_s(me, view, SHIPPED) + 0.1)
        assert not [action for action in actions if action.cause != FROZEN or me is not Me.SUPERVISORD]


@pytest.mark.parametrize("me", [Me.SLAVE, Me.SPARE, Me.SUPERVISORD])
def test_nobody_is_ended_and_nothing_launched_for_want_of_descriptors(me: Me) -> None:
    looks = Looks(me)
    view = View(UNKNOWN, UNKNOWN, UNKNOWN, ours=SLAVE, alone=True)
    for act in (Act.END, Act.LAUNCH_SLAVE, Act.RESCUE):
        assert looks.until(view, act) is None


def test_patience_rises_with_rank_for_the_shortest_settings_too() -> None:
    slave = View(seen(SLAVE, "S", 7, False), seen(MASTER), seen(SPARE), ours=SLAVE)
    by_spare = Looks(Me.SPARE, SHORTEST).until(slave, Act.END)
    by_supervisord = Looks(Me.SUPERVISORD, SHORTEST).until(slave, Act.END)
    assert by_spare is not None and by_supervisord is not None
    assert SHORTEST.partner_s < by_spare < by_supervisord


def test_journal_says_it_in_the_partners_own_words() -> None:
    assert Cause.FROZEN.value == FROZEN
    assert Cause.SILENT.value == next(row.cause for row in TABLE if row.name == "silent slave")
    assert Cause.NEVER_READY.value == next(row.cause for row in TABLE if row.name == "unready slave")
