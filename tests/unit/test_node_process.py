"""Who a process is, and whether it lives, asked of real processes."""

import dataclasses
import os
import signal
import time
from pathlib import Path

from snsnode.node.ending import kill_and_wait
from snsnode.node.process import (
    Identity,
    boot_id,
    identify,
    is_alive,
    me,
    open_pidfd,
    send_signal,
    state_of,
    wait_dead,
)
from tests.eventually import eventually
from tests.processes import STEP_S, sleeper


def other(identity: Identity) -> Identity:
    """Return whoever had that pid before."""
    return dataclasses.replace(identity, start_ticks=identity.start_ticks - 1)


def descriptors() -> set[str]:
    return {file.name for file in Path("/proc/self/fd").iterdir()}


def test_a_process_is_itself() -> None:
    assert me() == identify(os.getpid())
    assert is_alive(me())
    assert 0 < me().uptime_s < 3600 * 24


def test_the_name_of_a_process_may_hold_anything() -> None:
    with sleeper("open('/proc/self/comm', 'w').write('a) Z 1 (b')\nhold()") as process:
        assert process.identity == identify(process.process.pid)
        assert is_alive(process.identity)


def test_uptime_is_counted_from_the_start() -> None:
    with sleeper() as process:
        assert 0 <= process.identity.uptime_s < STEP_S


def test_states_are_the_kernels_letters() -> None:
    with sleeper() as process:
        eventually(lambda: state_of(process.identity) == "S", within_s=STEP_S)
        process.signal(signal.SIGSTOP, "T")
        assert state_of(process.identity) == "T"
        assert is_alive(process.identity)


def test_a_zombie_is_dead() -> None:
    with sleeper() as process:
        process.process.kill()
        eventually(lambda: process.state == "Z", within_s=STEP_S)
        assert not is_alive(process.identity)
        assert open_pidfd(process.identity) is None
        assert wait_dead(process.identity, 0)
        assert not send_signal(process.identity, signal.SIGTERM)


def test_a_process_that_is_gone_is_dead() -> None:
    with sleeper() as process:
        process.process.kill()
        process.process.wait(STEP_S)
        assert state_of(process.identity) is None
        assert not is_alive(process.identity)
        assert identify(process.process.pid) is None
        assert kill_and_wait(process.identity, 0).is_dead


def test_pids_that_nobody_can_have_are_dead() -> None:
    for pid in (-1, 0, 2**22 + 1, 2**31 - 1):
        assert not is_alive(Identity(pid, 1, boot_id()))
        assert open_pidfd(Identity(pid, 1, boot_id())) is None


def test_another_boot_is_dead() -> None:
    with sleeper() as process:
        assert not is_alive(dataclasses.replace(process.identity, boot_id="another"))


def test_a_recycled_pid_is_neither_believed_nor_shot() -> None:
    with sleeper() as process:
        before = other(process.identity)
        assert not is_alive(before)
        assert open_pidfd(before) is None
        assert not send_signal(before, signal.SIGKILL)
        assert kill_and_wait(before, 1.0).is_dead
        assert kill_and_wait(dataclasses.replace(process.identity, boot_id="another"), 1.0).is_dead
        assert process.process.poll() is None
        assert is_alive(process.identity)


def test_kill_and_wait_returns_with_the_death() -> None:
    with sleeper() as process:
        assert kill_and_wait(process.identity, STEP_S).is_dead
        assert not is_alive(process.identity)


def test_kill_and_wait_ends_a_stopped_process_too() -> None:
    with sleeper() as process:
        process.signal(signal.SIGSTOP, "T")
        assert kill_and_wait(process.identity, STEP_S).is_dead


def test_waiting_for_one_who_lives_gives_up() -> None:
    with sleeper() as process:
        began_s = time.monotonic()
        assert not wait_dead(process.identity, 0.05)
        assert not wait_dead(process.identity, -1.0)
        assert 0.05 <= time.monotonic() - began_s < STEP_S


def test_no_descriptor_is_left_open() -> None:
    with sleeper() as process:
        before = descriptors()
        wait_dead(process.identity, 0)
        send_signal(process.identity, signal.SIGCONT)
        open_pidfd(other(process.identity))
        kill_and_wait(process.identity, STEP_S)
        assert descriptors() == before
