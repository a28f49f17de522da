"""Who starts and stops what in supervisord, and who does not: its loop is turned by hand."""

import os
import signal
import time

import pytest
from supervisor.states import ProcessStates, SupervisorStates

from snsnode.node import budget, config, intent
from snsnode.node.config import RoleName
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, state_of, wait_dead
from tests.eventually import eventually
from tests.program_rig import log_of
from tests.role_rig import (
    RULE,
    Clock,
    Pair,
    pair,
    partner,
)

__all__ = ["pair", "partner"]


# --- starting -------------------------------------------------------------------------------------------------


def test_slave_is_started_once_and_never_again_by_supervisord_s_own_clock(pair: Pair) -> None:
    slave = pair.programs["slave"]
    slave.transition()
    assert pair.forked == ["slave"]
    slave.pid, slave.state = 0, ProcessStates.BACKOFF
    slave._spawn_unasked()  # a retry in BACKOFF: the pair does it, or the budget allows it
    assert pair.forked == ["slave"]


def test_slave_is_not_started_beside_a_master_that_launches_it(pair: Pair, partner: Identity) -> None:
    pair.programs["slave"].transition()
    assert pair.forked == []
    intent.pause(pair.vm_dir)  # now the master launches nothing
    pair.programs["slave"].transition()
    assert pair.forked == ["slave"]


def test_slave_whose_lock_is_held_by_somebody_unannounced_is_not_started(pair: Pair) -> None:
    lock = RoleLock(pair.vm_dir, "slave")
    lock.take()
    pair.programs["slave"].transition()
    lock.withdraw()
    assert pair.forked == []


@pytest.mark.parametrize("role", ["router", "slave"])
def test_stopped_program_is_not_started_unasked(pair: Pair, role: RoleName) -> None:
    intent.stop(pair.vm_dir, role)
    pair.programs[role].transition()
    assert pair.forked == []
    assert pair.programs[role].spawn() is None
    assert pair.forked == [role]
    assert not intent.is_stopped(pair.vm_dir, role)


def test_operator_s_start_is_left_to_a_live_partner(pair: Pair, partner: Identity) -> None:
    slave = pair.programs["slave"]
    slave.spawn()
    assert (pair.forked, slave.state, slave.pid) == ([], ProcessStates.STARTING, 0)
    slave._awaited_until_s = time.monotonic() - 1
    slave.transition()  # it did not do it
    assert pair.forked == ["slave"]


def test_master_is_left_to_a_slave_that_was_forked_just_now(pair: Pair) -> None:
    pair.programs["slave"].spawn()
    pair.programs["master"].spawn()
    assert pair.forked == ["slave"]
    assert pair.programs["master"].state == ProcessStates.STARTING


def test_operator_s_start_is_not_left_to_a_frozen_partner(pair: Pair, partner: Identity) -> None:
    os.kill(partner.pid, signal.SIGSTOP)
    eventually(lambda: state_of(partner) == "T", within_s=10)
    pair.programs["slave"].spawn()
    assert pair.forked == ["slave"]


def test_operator_s_start_is_not_left_to_a_partner_that_is_being_stopped(pair: Pair, partner: Identity) -> None:
    intent.stop(pair.vm_dir, "master")
    intent.stop(pair.vm_dir, "slave")
    # A slave's start clears both intents, so ask as the master's counterpart would.
    assert not pair.programs["slave"]._partner_launches()


# --- stopping -------------------------------------------------------------------------------------------------


def test_stop_is_recorded_before_anything_is_signalled(pair: Pair, partner: Identity) -> None:
    master = pair.programs["master"]
    master.look()
    assert master.pid == partner.pid

    def check(sig: int) -> None:
        assert intent.is_stopped(pair.vm_dir, "master")

    master._send = check
    assert master.stop() is None
    assert master.state == ProcessStates.STOPPING


def test_stop_that_cannot_be_recorded_signals_nobody(
    pair: Pair, partner: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(vm_dir: VmDir, role: RoleName) -> None:
        raise OSError(28, "No space left on device")

    master = pair.programs["master"]
    master.look()
    monkeypatch.setattr(intent, "stop", full)
    assert master.stop() == "cannot record that master shall stay stopped: No space left on device"
    assert master.state == ProcessStates.RUNNING
    assert not wait_dead(partner, 0.1)


def test_shutdown_records_nothing(pair: Pair, partner: Identity) -> None:
    master = pair.programs["master"]
    master.look()
    master.config.options.mood = SupervisorStates.SHUTDOWN
    assert master.stop() is None
    assert not intent.is_stopped(pair.vm_dir, "master")
    assert wait_dead(partner, 5)


# --- while the pair is dead -------------------------------------------------------------------------------------


def test_dead_pair_is_launched_out_of_its_budget_and_never_fatal(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)  # else a busy machine takes longer than the first wait, a tenth of a second
    slave = pair.programs["slave"]
    slave.transition()
    pair.died("slave")
    slave.transition()
    assert pair.forked == ["slave", "slave"]  # intensity 1: at once
    for _ in range(10):
        pair.died("slave") if slave.pid else None
        slave.transition()
    assert slave.state == ProcessStates.BACKOFF
    assert "a new first launch in" in slave.spawnerr
    assert budget.read(pair.vm_dir).totals == {"slave": 2}
    assert log_of(slave).errors == []


def test_operator_s_start_does_not_wait_for_the_budget(pair: Pair) -> None:
    slave = pair.programs["slave"]
    slave.transition()
    for _ in range(2):
        pair.died("slave")
        slave.transition()
    assert slave.state == ProcessStates.BACKOFF
    forked = len(pair.forked)
    with slave.starting_now():
        assert slave.get_state() == ProcessStates.STOPPED  # else supervisord says "already started"
        slave.spawn()
    assert len(pair.forked) == forked + 1


def test_bad_configuration_is_not_tried_again_at_once(pair: Pair) -> None:
    slave = pair.programs["slave"]
    slave.transition()
    pair.died("slave", code=78)
    slave.transition()
    assert pair.forked == ["slave"]
    assert slave._plan.at_s - time.monotonic() > RULE.backoff_max_s * 0.7


def test_unreadable_configuration_is_tried_again_later(pair: Pair) -> None:
    (pair.vm_dir.path / config.FILENAME).write_text("{")
    slave = pair.programs["slave"]
    slave.transition()
    pair.died("slave")
    slave.transition()
    assert pair.forked == ["slave"]
    assert "a new first launch in 10 s" in slave.spawnerr


@pytest.mark.parametrize("why", ["spare", "stopped", "paused", "shutdown"])
def test_dead_pair_is_left_alone(pair: Pair, why: str) -> None:
    slave = pair.programs["slave"]
    slave.transition()
    pair.died("slave")
    spare = RoleLock(pair.vm_dir, "spare")
    if why == "spare":
        spare.take()
    elif why == "stopped":
        intent.stop(pair.vm_dir, "slave")
    elif why == "paused":
        intent.pause(pair.vm_dir)
    else:
        slave.config.options.mood = SupervisorStates.SHUTDOWN
    for _ in range(3):
        slave.transition()
    assert pair.forked == ["slave"]
    spare.withdraw()


def test_dead_master_without_its_stopped_slave_says_so(pair: Pair, partner: Identity) -> None:
    master = pair.programs["master"]
    master.look()
    intent.stop(pair.vm_dir, "slave")
    os.kill(partner.pid, signal.SIGKILL)
    # A zombie of this very process waits for its reaper.
    pid, status = os.waitpid(partner.pid, 0)
    master.finish(pid, status)
    master.transition()
    assert master.state == ProcessStates.BACKOFF
    assert master.spawnerr == "the slave, which would restart it, is stopped"
    assert pair.forked == []
