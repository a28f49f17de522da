"""Whom supervisord ends, or launches anew, because nobody else is left to do it; and whom it leaves alone."""

import os
import signal
import time
from contextlib import ExitStack

import pytest
from supervisor.states import ProcessStates

from snsnode.guard.table import FROZEN
from snsnode.node import budget, config, intent, places
from snsnode.node.process import Identity, state_of, wait_dead
from snsnode.observe.journal import read
from tests.eventually import eventually
from tests.processes import sleeper
from tests.program_rig import log_of
from tests.role_rig import (
    QUICK,
    RULE,
    Clock,
    Pair,
    frozen_slave,
    holding,
    move,
    pair,
    partner,
    turn_for,
)

__all__ = ["pair", "partner"]


# --- a pair that hangs ------------------------------------------------------------------------------------------


def test_slave_frozen_beside_a_frozen_master_is_ended_and_a_new_one_launched(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(partner.pid, signal.SIGSTOP)
    eventually(lambda: state_of(partner) == "T", within_s=10)
    with frozen_slave(pair) as slave:
        clock = Clock(monkeypatch)
        turn_for(pair, clock, 9)
        assert state_of(slave) == "T"
        turn_for(pair, clock, 3)
        assert wait_dead(slave, 5)
        [entry] = read(pair.vm_dir.journal)
        assert (entry.event, entry.fields["partner_pid"]) == ("slave-down", slave.pid)
        os.waitid(os.P_PID, slave.pid, os.WEXITED | os.WNOWAIT)
    turn_for(pair, clock, 2)
    assert pair.forked == ["slave"]  # at once: the new one judges the master
    assert state_of(partner) == "T"
    assert log_of(pair.programs["slave"]).errors == []


@pytest.mark.parametrize("why", ["paused", "stopped", "shutdown"])
def test_frozen_pair_that_is_not_meant_to_run_is_left_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    with frozen_slave(pair) as slave:
        clock = Clock(monkeypatch)
        if why == "paused":
            intent.pause(pair.vm_dir)
        elif why == "stopped":
            intent.stop(pair.vm_dir, "slave")
        else:
            intent.mark_shutdown(pair.vm_dir)
        turn_for(pair, clock, 60)
        assert state_of(slave) == "T"
        intent.resume(pair.vm_dir)
        intent.clear_shutdown(pair.vm_dir)
        intent.clear(pair.vm_dir, "slave")
        turn_for(pair, clock, 12)
        assert wait_dead(slave, 5)


# --- a pair without a slave -------------------------------------------------------------------------------------


def test_supervisord_that_begins_beside_a_master_launches_a_slave_where_it_brings_none(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    turn_for(pair, clock, 2)
    assert pair.programs["slave"].state == ProcessStates.BACKOFF  # its partner restarts it
    turn_for(pair, clock, 9)
    assert pair.forked == []
    turn_for(pair, clock, 3)
    assert pair.forked == ["slave"]
    assert [entry.fields["cause"] for entry in read(pair.vm_dir.journal)] == ["the master launches no slave"]


def test_time_alone_counts_from_the_death_of_the_last_slave(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    turn_for(pair, clock, 3)
    with holding(pair, "slave"):
        turn_for(pair, clock, 60)
        assert pair.programs["slave"].state == ProcessStates.RUNNING
    turn_for(pair, clock, 9)
    assert pair.forked == []
    turn_for(pair, clock, 4)
    assert pair.forked == ["slave"]


def test_master_that_waits_as_the_budget_says_is_not_taken_for_one_that_hangs(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    _, wait_s = budget.withdraw(pair.vm_dir, RULE, "slave", 0.5, hopeless=True)
    turn_for(pair, clock, int(wait_s) - 1)
    assert pair.forked == []
    turn_for(pair, clock, 15)
    assert budget.read(pair.vm_dir).totals == {"slave": 2}  # and then it is


def test_time_in_which_supervisord_did_not_run_is_nobody_s_silence(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    turn_for(pair, clock, 2)
    clock.now_s += 100
    turn_for(pair, clock, 9)
    assert pair.forked == []


def test_spare_that_rescues_nobody_is_ended(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.programs["slave"].laststart = time.time()
    pair.configure(QUICK)
    with holding(pair, "spare") as spare:
        clock = Clock(monkeypatch)
        turn_for(pair, clock, 10)
        assert spare.state not in ("Z", "")
        turn_for(pair, clock, 4)
        assert wait_dead(spare.identity, 5)
        os.waitid(os.P_PID, spare.identity.pid, os.WEXITED | os.WNOWAIT)
    turn_for(pair, clock, 2)
    assert pair.forked == ["slave"]


def test_stop_of_a_master_that_was_never_here_is_recorded_where_its_slave_lives(pair: Pair) -> None:
    """As after supervisord's own death, or at the first start: the slave is about to launch it."""
    master = pair.programs["master"]
    master.transition()
    assert master.state == ProcessStates.STOPPED
    with holding(pair, "slave"):
        master.transition()
        assert (master.state, master.spawnerr) == (ProcessStates.BACKOFF, "its partner restarts it")
        intent.pause(pair.vm_dir)
        for _ in range(3):
            master.transition()
        assert (master.state, master.spawnerr) == (
            ProcessStates.BACKOFF,
            "restarting is paused; 'snsctl resume' ends that",
        )
        intent.resume(pair.vm_dir)
        master.kill(signal.SIGTERM)
        assert intent.is_stopped(pair.vm_dir, "master")
        master.transition()
        assert master.state == ProcessStates.STOPPED
    assert pair.forked == []


@pytest.mark.parametrize("slave_is", ["dead", "stopped"])
def test_master_that_was_never_here_is_not_started_without_its_slave(pair: Pair, slave_is: str) -> None:
    master = pair.programs["master"]
    with holding(pair, "slave"):
        master.transition()
        assert master.state == ProcessStates.BACKOFF
        if slave_is == "stopped":
            intent.stop(pair.vm_dir, "slave")
            master.transition()
    for _ in range(3):
        master.delay = 0
        master.transition()
    assert pair.forked == []


def test_slave_that_launches_no_master_is_ended(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs, and master and spare died before they could tell."""
    pair.configure(QUICK)
    with holding(pair, "slave") as slave:
        clock = Clock(monkeypatch)
        turn_for(pair, clock, 22)
        assert slave.state not in ("Z", "")
        turn_for(pair, clock, 5)
        assert wait_dead(slave.identity, 5)
        os.waitid(os.P_PID, slave.identity.pid, os.WEXITED | os.WNOWAIT)
    turn_for(pair, clock, 2)
    assert pair.forked == ["slave"]
    assert [entry.event for entry in read(pair.vm_dir.journal)] == ["slave-down", "first-launch"]


def test_slave_that_does_not_move_beside_partners_that_hang_is_ended(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(pair, "spare") as spare:
        spare.signal(signal.SIGSTOP, "T")
        with holding(pair, "slave", shows="its own") as slave:
            clock = Clock(monkeypatch)
            for _ in range(40):
                move(slave)
                turn_for(pair, clock, 1)
            turn_for(pair, clock, 16)
            assert slave.state not in ("Z", "")
            turn_for(pair, clock, 4)
            assert wait_dead(slave.identity, 5)
            os.waitid(os.P_PID, slave.identity.pid, os.WEXITED | os.WNOWAIT)
        [entry] = read(pair.vm_dir.journal)
        assert (entry.event, entry.fields["cause"]) == ("slave-down", "it does not move")
        turn_for(pair, clock, 2)
        assert wait_dead(spare.identity, 5)  # it could rescue nobody, and would keep supervisord from it
        os.waitid(os.P_PID, spare.identity.pid, os.WEXITED | os.WNOWAIT)
    turn_for(pair, clock, 15)
    assert pair.forked == ["slave"]  # it judges the master


@pytest.mark.parametrize("why", ["shows nothing", "another's", "paused", "away", "traced", "waits for its disk"])
def test_slave_that_does_not_move_for_a_reason_is_left_alone(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    shows = {"shows nothing": "nothing", "another's": "another's"}.get(why, "its own")
    with holding(pair, "slave", shows=shows) as slave, holding(pair, "spare"):
        if why == "paused":
            intent.pause(pair.vm_dir)
        letter = {"traced": "t", "waits for its disk": "D"}.get(why)
        if letter is not None:
            monkeypatch.setattr(places, "state_of", lambda found: letter if found == slave.identity else "S")
        clock = Clock(monkeypatch)
        for _ in range(8):
            turn_for(pair, clock, 5)
            clock.now_s += 30 if why == "away" else 0
        assert slave.state not in ("Z", "")
    assert read(pair.vm_dir.journal) == ()


def test_slave_that_is_frozen_is_not_called_one_that_does_not_move(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(pair, "slave", shows="its own") as slave, holding(pair, "spare"):
        slave.signal(signal.SIGSTOP, "T")
        clock = Clock(monkeypatch)
        turn_for(pair, clock, 40)
        assert wait_dead(slave.identity, 5)
        [entry] = read(pair.vm_dir.journal)
        assert entry.fields["cause"] == FROZEN


def test_slave_that_hangs_in_two_ways_is_ended_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    (pair.vm_dir.path / config.FILENAME).unlink()  # then both have the same patience
    with holding(pair, "slave", shows="its own") as slave:
        clock = Clock(monkeypatch)
        turn_for(pair, clock, 26)
        assert wait_dead(slave.identity, 5)
        assert len(list(read(pair.vm_dir.journal))) == 1


def test_master_beside_a_spare_that_launches_no_slave_either_gets_one(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both hang, and so did the slave that was ended for it."""
    with holding(pair, "spare"):
        clock = Clock(monkeypatch)
        turn_for(pair, clock, 17)  # the spare has twice the silence to do it
        assert pair.forked == []
        turn_for(pair, clock, 4)
        assert pair.forked == ["slave"]


@pytest.mark.parametrize("why", ["master there", "spare there", "waits", "master stopped", "paused", "away"])
def test_slave_that_has_a_reason_is_left_alone(pair: Pair, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    pair.configure(QUICK)
    with ExitStack() as held:
        slave = held.enter_context(holding(pair, "slave"))
        clock = Clock(monkeypatch)
        if why in ("master there", "spare there"):
            held.enter_context(holding(pair, why.split()[0]))
        elif why == "waits":
            assert budget.withdraw(pair.vm_dir, RULE, "master", 0.5, hopeless=True)[1] > 60
        elif why == "master stopped":
            intent.stop(pair.vm_dir, "master")
        elif why == "paused":
            intent.pause(pair.vm_dir)
        for _ in range(10):
            turn_for(pair, clock, 5)
            clock.now_s += 30 if why == "away" else 0
        assert slave.state not in ("Z", "")


def test_slave_whose_master_died_a_while_after_it_began_has_the_whole_time(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.configure(QUICK)
    with holding(pair, "slave") as slave:
        clock = Clock(monkeypatch)
        turn_for(pair, clock, 20)
        with holding(pair, "master"):
            turn_for(pair, clock, 20)
        turn_for(pair, clock, 20)
        assert slave.state not in ("Z", "")


def test_slave_is_not_ended_for_the_idleness_of_the_one_before(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.configure(QUICK)
    clock = Clock(monkeypatch)
    with holding(pair, "slave"):
        turn_for(pair, clock, 20)
    with holding(pair, "slave") as slave:
        turn_for(pair, clock, 20)
        assert slave.state not in ("Z", "")


# --- a child of its own that never gets as far as its lock ------------------------------------------------------


def test_slave_that_hangs_before_it_has_its_lock_is_ended(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stopped while it imported: nobody but its parent knows of it."""
    slave = pair.programs["slave"]
    with sleeper() as child:
        child.signal(signal.SIGSTOP, "T")
        slave.laststart, slave.pid, slave.state = time.time(), child.identity.pid, ProcessStates.RUNNING
        clock = Clock(monkeypatch)
        turn_for(pair, clock, 20)
        assert child.state == "T"
        turn_for(pair, clock, 2)
        assert wait_dead(child.identity, 5)
    [entry] = read(pair.vm_dir.journal)
    assert (entry.event, entry.fields["cause"]) == ("slave-down", "did not become ready in time")
