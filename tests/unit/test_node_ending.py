"""How a process is ended: exactly the one that was meant, within bounds, and with its outcome told."""

import dataclasses
import errno
import os
import signal
from collections.abc import Callable

import pytest

from snsnode.node import ending
from snsnode.node.ending import Outcome
from snsnode.node.process import Identity, is_alive
from tests.processes import STEP_S, Sleeper, sleeper

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); hold()"
WAYS: dict[str, Callable[[Identity], Outcome]] = {
    "kill": ending.kill,
    "ask": ending.ask,
    "kill_and_wait": lambda victim: ending.kill_and_wait(victim, STEP_S),
    "end": lambda victim: ending.end(victim, STEP_S, STEP_S),
    "end_all": lambda victim: ending.end_all([victim], STEP_S, STEP_S)[victim],
    "kill_all": lambda victim: ending.kill_all([victim], STEP_S)[victim],
}


@pytest.mark.parametrize("way", WAYS)
def test_whoever_has_the_number_by_now_is_left_alone(way: str) -> None:
    with sleeper() as process:
        before = dataclasses.replace(process.identity, start_ticks=process.identity.start_ticks - 1)
        assert WAYS[way](before) is Outcome.GONE
        assert WAYS[way](dataclasses.replace(process.identity, boot_id="another")) is Outcome.GONE
        assert process.process.poll() is None and is_alive(process.identity)


@pytest.mark.parametrize("way", WAYS)
def test_another_user_s_process_is_reported(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with sleeper() as process:
        monkeypatch.setattr(ending, "send_signal", refuse)
        assert WAYS[way](process.identity) is Outcome.FORBIDDEN


def test_one_that_hears_ends_within_its_grace() -> None:
    with sleeper() as process:
        assert ending.end(process.identity, STEP_S, STEP_S) is Outcome.DEAD
        assert process.process.wait(STEP_S) == -signal.SIGTERM


def test_one_that_does_not_hear_is_killed_after_its_grace() -> None:
    with sleeper(DEAF) as process:
        assert ending.ask(process.identity) is Outcome.SIGNALLED
        assert ending.end(process.identity, 0.05, STEP_S) is Outcome.DEAD
        assert process.process.wait(STEP_S) == -signal.SIGKILL


def frozen(process: Sleeper) -> Identity:
    process.signal(signal.SIGSTOP, "T")
    return process.identity


def test_a_frozen_one_is_not_asked() -> None:
    with sleeper() as process:
        assert ending.ask(frozen(process)) is Outcome.SIGNALLED
        assert process.process.wait(STEP_S) == -signal.SIGKILL


def test_several_share_one_grace_and_none_is_forgotten() -> None:
    with sleeper() as hears, sleeper(DEAF) as deaf, sleeper() as still:
        victims = [hears.identity, deaf.identity, frozen(still)]
        assert set(ending.end_all(victims, 0.2, STEP_S).values()) == {Outcome.DEAD}
        assert not any(map(is_alive, victims))


def test_one_that_the_kernel_holds_is_reported_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with sleeper() as process:
        monkeypatch.setattr(ending, "send_signal", lambda *_: True)  # as in state D: no signal arrives
        assert ending.kill_and_wait(process.identity, 0.05) is Outcome.STAYS
        assert ending.end(process.identity, 0.05, 0.05) is Outcome.STAYS
        assert not Outcome.STAYS.is_dead
