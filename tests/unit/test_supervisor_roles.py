"""Our programs inside a supervisord whose loop is turned by hand: who launches what, and who does not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from supervisor.states import ProcessStates, SupervisorStates

from snsnode.base.ids import VmName
from snsnode.node import budget, config, intent
from snsnode.node.config import KeepAlive, NodeConfig, Restart, RoleName
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify, state_of, wait_dead
from snsnode.observe.journal import read
from snsnode.supervisord.roles import RoleProcess
from tests.eventually import eventually
from tests.processes import Sleeper, sleeper
from tests.unit.test_supervisor_adoption import log_of, make

RULE = Restart(intensity=1, period_s=3600, backoff_max_s=300)
QUICK = Restart(intensity=1, period_s=3600, backoff_max_s=1)


class Pair:
    """A VM's folder, and its programs as supervisord has them; what they fork is only counted."""

    def __init__(self, vm_dir: VmDir) -> None:
        self.vm_dir = vm_dir
        self.forked: list[RoleName] = []
        self.programs = {role: self._program(role) for role in ("router", "slave", "master")}

    def _program(self, role: str) -> Any:
        program = make(RoleProcess, name=role, autostart=role != "master")
        program.vm_dir, program.sibling = self.vm_dir, lambda name: self.programs.get(name)

        def fork() -> None:
            self.forked.append(program.role)
            program.laststart = time.time()
            program.change_state(ProcessStates.STARTING)
            program.pid = 4242  # as supervisord knows it before the child has announced itself

        program._fork = fork
        return program

    def configure(self, rule: Restart) -> None:
        vm, keepalive = VmName("vm2"), KeepAlive(3, 1, 9)
        node = NodeConfig("c", vm, "127.0.0.1", 1, 2, (), "sqlite:///x", "single", True, keepalive, rule)
        (self.vm_dir.path / config.FILENAME).write_text(config.to_json(node))

    def died(self, role: RoleName, code: int = 1) -> None:
        """Let supervisord's own child end before ``startsecs``."""
        program = self.programs[role]
        program.pipes = {}
        program.finish(program.pid, code << 8)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    vm_dir = VmDir(tmp_path / "vm2")
    vm_dir.make()
    made = Pair(vm_dir)
    made.configure(RULE)
    return made


@pytest.fixture
def partner(pair: Pair) -> Iterator[Identity]:
    """A live process that holds the master's role."""
    script = (
        "import sys; from pathlib import Path; from snsnode.node.lock import RoleLock;"
        "from snsnode.node.paths import VmDir; lock = RoleLock(VmDir(Path(sys.argv[1])), 'master');"
        "lock.take(); lock.announce(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(pair.vm_dir.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        identity = identify(process.pid)
        assert identity is not None
        yield identity
        process.kill()


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


def test_dead_pair_is_launched_out_of_its_budget_and_never_fatal(pair: Pair) -> None:
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
    assert slave._relaunch_s - time.monotonic() > RULE.backoff_max_s * 0.7


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


# --- a pair that hangs ------------------------------------------------------------------------------------------


@contextmanager
def holding(pair: Pair, role: str) -> Iterator[Sleeper]:
    """A process that holds ``role``."""
    script = (
        "import sys; from pathlib import Path; from snsnode.node.lock import RoleLock;"
        "from snsnode.node.paths import VmDir; lock = RoleLock(VmDir(Path(sys.argv[1])), sys.argv[2]);"
        "lock.take(); lock.announce(); hold()"
    )
    with sleeper(script, str(pair.vm_dir.path), role) as holder:
        yield holder


@contextmanager
def frozen_slave(pair: Pair) -> Iterator[Identity]:
    """A frozen process that holds the slave's role, adopted by its program."""
    with holding(pair, "slave") as slave:
        slave.signal(signal.SIGSTOP, "T")
        pair.programs["slave"].look()
        yield slave.identity


def turn_for(pair: Pair, clock: "Clock", seconds: int) -> None:
    """Turn supervisord's loop once a second of its own clock."""
    for _ in range(seconds):
        clock.now_s += 1
        pair.programs["slave"].transition()


class Clock:
    """The monotonic clock, that nobody else moves: nothing may be waited for meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)


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
