"""Adopting inside a supervisord whose loop is turned by hand: every callback survives, nothing leaks."""

import errno
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from supervisor.states import ProcessStates, SupervisorStates, getProcessStateDescription

from snsnode.node import ending
from snsnode.node.ending import kill_and_wait
from snsnode.node.process import Identity, identify, is_alive, state_of, wait_dead
from snsnode.supervisord.adoption import Adopting
from tests.eventually import eventually
from tests.processes import sleeper
from tests.program_rig import log_of, make, stranger

__all__ = ["stranger"]

DAY_S = 86400.0


class Fake(Adopting):
    """Is whoever ``who`` names."""

    who: Identity | None = None
    fails: Exception | None = None
    vacancies = 0

    def _successor(self) -> Identity | None:
        if self.fails is not None:
            raise self.fails
        return self.who if self.who is not None and is_alive(self.who) else None

    def _vacant(self) -> None:
        self.vacancies += 1


@pytest.fixture
def adopted(stranger: Identity) -> Iterator[Any]:
    process = make(Fake)
    process.who = stranger
    process.look()
    assert (process.state, process.pid) == (ProcessStates.RUNNING, stranger.pid)
    yield process
    kill_and_wait(stranger, 5)
    process.look()
    assert process.dispatchers == {}
    assert process.config.options.pidhistory == {}
    assert process.pid == 0


# --- nothing ends supervisord ---------------------------------------------------------------------------------


def test_failing_look_is_logged_and_nothing_else_happens() -> None:
    process = make(Fake)
    process.fails = RuntimeError("broken")
    process.transition()
    assert process.get_state() == ProcessStates.STOPPED
    assert len(log_of(process).errors) == 2
    assert "broken" in log_of(process).errors[0]


def test_failing_transition_is_logged() -> None:
    process = make(Fake, autostart=True)
    process._spawn_unasked = lambda: 1 / 0
    process.transition()
    assert "ZeroDivisionError" in log_of(process).errors[0]
    assert not process._automatic


def test_spawn_that_cannot_write_says_why() -> None:
    process = make(Fake)

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    process._spawn_asked = full
    assert process.spawn() is None
    assert process.spawnerr == "cannot start it: No space left on device"


def test_end_in_an_unexpected_state_leaves_no_process_behind() -> None:
    process = make(Fake)
    process.pid, process.state, process.laststart = 4242, ProcessStates.UNKNOWN, 1.0
    process.finish(4242, 0)
    assert (process.pid, process.state) == (0, ProcessStates.EXITED)
    assert len(log_of(process).errors) == 1


def test_end_of_an_earlier_child_is_not_taken_for_ours(adopted: Any) -> None:
    adopted.finish(adopted.pid + 1, 0)
    assert adopted.state == ProcessStates.RUNNING


def test_signal_that_is_not_permitted_is_reported(adopted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(identity: Identity, signum: signal.Signals) -> bool:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(ending, "send_signal", refuse)
    expected = f"cannot signal it (pid {adopted.pid}): Operation not permitted"
    assert adopted.stop() == expected
    assert adopted.signal(signal.SIGHUP) == expected
    assert adopted.state == ProcessStates.RUNNING


def test_writing_to_an_adopted_process_is_a_broken_pipe(adopted: Any) -> None:
    with pytest.raises(OSError) as raised:
        adopted.write(b"x")
    assert raised.value.args[0] == errno.EPIPE  # which sendProcessStdin takes for "no file"


# --- ends -----------------------------------------------------------------------------------------------------


def test_death_rings_the_bell_and_nothing_leaks(adopted: Any, stranger: Identity) -> None:
    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    ((pidfd, bell),) = adopted.dispatchers.items()
    assert bell.readable() and not bell.writable()
    assert not select.select([pidfd], [], [], 0)[0]
    assert kill_and_wait(stranger, 5).is_dead
    assert select.select([pidfd], [], [], 1)[0]
    eventually(lambda: (bell.handle_read_event(), adopted.state)[1] == ProcessStates.EXITED, within_s=10)
    assert not bell.readable()
    assert (adopted.pid, adopted.dispatchers, adopted.config.options.pidhistory) == (0, {}, {})
    assert len(os.listdir("/proc/self/fd")) == open_before - 1  # noqa: PTH208


def test_reaped_orphan_ends_with_its_exit_code_and_without_a_key_error(adopted: Any) -> None:
    pid = adopted.pid
    adopted.finish(pid, 7 << 8)
    del adopted.config.options.pidhistory[pid]  # as supervisord's reap() does next
    adopted.who = None
    assert (adopted.state, adopted.exitstatus, adopted.pid) == (ProcessStates.EXITED, 7, 0)


def test_recycled_pid_of_another_program_stays_in_the_history(adopted: Any, stranger: Identity) -> None:
    pid = adopted.pid
    other = object()
    adopted.config.options.pidhistory[pid] = other
    assert kill_and_wait(stranger, 5).is_dead
    eventually(lambda: adopted.get_state() == ProcessStates.EXITED, within_s=10)
    assert adopted.config.options.pidhistory.pop(pid) is other


def test_our_own_zombie_waits_for_reap() -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = make(Fake)
    process.who = identify(child.pid)
    process.look()
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    process.look()
    assert process.state == ProcessStates.RUNNING  # its exit status is still to come
    status = os.waitpid(child.pid, 0)[1]
    process.finish(child.pid, status)
    assert (process.state, process.exitstatus) == (ProcessStates.EXITED, -1)
    child.returncode = 0


def test_one_that_ignores_term_is_killed_after_stopwaitsecs() -> None:
    started = subprocess.run(
        ["setsid", "sh", "-c", "(trap '' TERM; exec sleep 60 >&-) & echo $!"], stdout=subprocess.PIPE, check=True
    )
    process = make(Fake, stopwaitsecs=0.3)
    process.who = identify(int(started.stdout))
    eventually(lambda: "sleep" in Path(f"/proc/{process.who.pid}/comm").read_text(), within_s=15)
    process.look()
    assert process.stop() is None
    process.transition()
    assert process.state == ProcessStates.STOPPING and is_alive(process.who)
    eventually(lambda: (process.transition(), process.state)[1] == ProcessStates.STOPPED, within_s=10)
    assert not is_alive(process.who)


def test_appearing_during_a_shutdown_it_is_stopped(stranger: Identity) -> None:
    process = make(Fake)
    process.config.options.mood = SupervisorStates.SHUTDOWN
    process.who = stranger
    process.look()
    assert process.state == ProcessStates.STOPPING
    eventually(lambda: process.get_state() == ProcessStates.STOPPED, within_s=10)


def test_exit_code_of_somebody_else_s_child_is_told_where_the_kernel_knows_it() -> None:
    process = make(Fake, exitcodes=[0, 3])
    with sleeper("print('ready', flush=True); sys.exit(int(sys.stdin.readline()))") as other:
        process.who = other.identity
        process.look()
        stdin = other.process.stdin
        assert stdin is not None
        stdin.write("3\n")
        stdin.flush()
        eventually(lambda: other.state == "Z", within_s=10)
        assert process._how_it_ended(other.identity) == (3, "exit status 3")  # nobody has reaped it
        assert other.process.wait() == 3
        known = process._how_it_ended(other.identity)
        assert known == (3, "exit status 3") if _kernel_tells() else known == (-1, "exit status unknown")
        told = _told(process)
        process.look()
        assert told == [("EXITED", _kernel_tells())]
        assert process.exitstatus == known[0]
        assert (process.spawnerr is None) == _kernel_tells()


def _kernel_tells() -> bool:
    """Tell whether a pidfd tells how its process ended, once that was reaped."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor)) >= (6, 15)


def _told(process: Any) -> list[tuple[str, bool]]:
    """Return a list of the state changes from now on, and of whether they were expected."""
    told: list[tuple[str, bool]] = []
    change = process.change_state

    def change_state(state: int, expected: bool = True) -> None:
        told.append((getProcessStateDescription(state), expected))
        change(state, expected)

    process.change_state = change_state
    return told


@pytest.mark.parametrize(("code", "expected"), [(0, True), (3, True), (1, False)])
def test_end_is_expected_as_supervisord_s_own_child_s_is(adopted: Any, code: int, expected: bool) -> None:
    adopted.config.exitcodes = [0, 3]
    pid, told = adopted.pid, _told(adopted)
    adopted.finish(pid, code << 8)
    del adopted.config.options.pidhistory[pid]
    adopted.who = None
    assert told == [("EXITED", expected)]
    assert adopted.spawnerr == (None if expected else "Bad exit code 1")


def test_one_that_may_not_be_signalled_does_not_hold_up_a_shutdown(
    adopted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(identity: Identity, signum: signal.Signals) -> bool:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(ending, "send_signal", refuse)
    adopted.config.options.mood = SupervisorStates.SHUTDOWN
    assert "Operation not permitted" in str(adopted.stop())
    adopted.look()
    assert (adopted.state, adopted.pid, adopted.dispatchers) == (ProcessStates.UNKNOWN, 0, {})


# --- logs ------------------------------------------------------------------------------------------------------


def test_logs_are_cleared_in_place_in_every_state(tmp_path: Path) -> None:
    out, err = tmp_path / "out.log", tmp_path / "err.log"
    process = make(Fake, stdout_logfile=str(out), stderr_logfile=str(err))
    process.removelogs()  # none is there
    with out.open("a") as writer:
        writer.write("old\n")
        writer.flush()
        process.removelogs()
        writer.write("new\n")
    assert out.read_text() == "new\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which is shown the link")
def test_root_clears_nothing_behind_a_symbolic_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "out.log").symlink_to(precious)
    with pytest.raises(OSError):  # which supervisord tells as FAILED
        make(Fake, stdout_logfile=str(tmp_path / "out.log")).removelogs()
    assert precious.read_text() == "kept"


def test_log_that_is_no_file_is_left_alone() -> None:
    make(Fake, stdout_logfile="/dev/null").removelogs()


# --- clocks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
def test_wall_clock_jumps_change_neither_uptime_nor_the_grace(
    adopted: Any, stranger: Identity, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump_s)
    adopted.transition()
    assert time.time() - adopted.laststart == pytest.approx(stranger.uptime_s, abs=0.2)
    os.kill(stranger.pid, signal.SIGSTOP)
    eventually(lambda: state_of(stranger) == "T", within_s=10)
    assert adopted.stop() is None
    monkeypatch.setattr(time, "time", lambda: real() + 2 * jump_s)
    adopted.transition()
    assert adopted.state == ProcessStates.STOPPING
    assert not wait_dead(stranger, 0.1)  # no SIGKILL before stopwaitsecs
    assert adopted.delay - time.time() <= 10


def test_uptime_is_the_process_s_own_from_its_first_second(adopted: Any, stranger: Identity) -> None:
    adopted.transition()  # supervisor would date its start back by startsecs
    assert adopted.state == ProcessStates.RUNNING
    assert time.time() - adopted.laststart == pytest.approx(stranger.uptime_s, abs=0.2)


# --- awaited --------------------------------------------------------------------------------------------------


def test_awaited_process_that_does_not_come_backs_off() -> None:
    process = make(Fake)
    process._await(0.05)
    assert process.get_state() == ProcessStates.STARTING
    assert process.vacancies == 0
    eventually(lambda: (process.transition(), process.state)[1] == ProcessStates.BACKOFF, within_s=10)
    assert process.spawnerr == "nobody started it"


def test_awaited_process_can_be_stopped() -> None:
    process = make(Fake)
    process._await(60)
    assert process.stop() is None
    assert process.get_state() == ProcessStates.STOPPED


def test_awaited_process_is_adopted(stranger: Identity) -> None:
    process = make(Fake)
    process._await(60)
    process.who = stranger
    assert process.get_state() == ProcessStates.RUNNING
    assert process.spawn() == stranger.pid  # and is never started a second time
