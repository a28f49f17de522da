"""The router that is frozen or stands still: supervisord ends it, within its own budget, and nobody else's."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from snsnode.guard import times
from snsnode.guard.table import FROZEN
from snsnode.guard.times import SHIPPED
from snsnode.node import budget, intent, places
from snsnode.node.process import state_of, wait_dead
from snsnode.observe.journal import read
from tests.processes import Sleeper, sleeper
from tests.program_rig import log_of
from tests.role_rig import RULE, Clock, Pair, holding, move, pair, turn_for

__all__ = ["pair"]

FROZEN_S = int(times.ROUTER_FROZEN_S)
STILL_S = int(SHIPPED.router_s)


@contextmanager
def router(pair: Pair, *, shows: str = "nothing", frozen: bool = False) -> Iterator[Sleeper]:
    """A process that holds the router's role, adopted by its program."""
    with holding(pair, "router", shows=shows) as holder:
        if frozen:
            holder.signal(signal.SIGSTOP, "T")
        pair.programs["router"].look()
        yield holder


def wait_for(pair: Pair, clock: Clock, seconds: int) -> None:
    turn_for(pair, clock, seconds, "router")


def test_frozen_router_is_ended_after_its_patience(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with router(pair, frozen=True) as frozen:
        clock = Clock(monkeypatch)
        wait_for(pair, clock, FROZEN_S)
        assert (state_of(frozen.identity), pair.programs["router"].pid) == ("T", frozen.identity.pid)
        wait_for(pair, clock, 1)
        assert wait_dead(frozen.identity, 5)
        [entry] = read(pair.vm_dir.journal)
        assert (entry.role, entry.event) == ("supervisord", "router-down")
        assert (entry.fields["cause"], entry.fields["partner_pid"]) == (FROZEN, frozen.identity.pid)
        os.waitid(os.P_PID, frozen.identity.pid, os.WEXITED | os.WNOWAIT)
    assert budget.read(pair.vm_dir).totals == {}  # the pair's
    assert log_of(pair.programs["router"]).errors == []


def test_router_that_does_not_move_is_ended_and_one_that_moves_is_not(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with router(pair, shows="its own") as holder:
        clock = Clock(monkeypatch)
        for _ in range(3):
            wait_for(pair, clock, STILL_S)
            assert state_of(holder.identity) == "S"
            move(holder)
        wait_for(pair, clock, STILL_S + 1)
        assert wait_dead(holder.identity, 5)


@pytest.mark.parametrize("why", ["nothing", "another's"])
def test_router_that_shows_nothing_of_its_own_is_left_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    with router(pair, shows=why) as holder:
        wait_for(pair, Clock(monkeypatch), 60)
        assert state_of(holder.identity) == "S"


@pytest.mark.parametrize("why", ["paused", "stopped", "shutdown", "traced", "in state D", "supervisord was away"])
def test_router_that_stands_still_for_a_reason_is_left_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    with router(pair, shows="its own") as holder:
        clock = Clock(monkeypatch)
        if why == "paused":
            intent.pause(pair.vm_dir)
        elif why == "stopped":
            intent.stop(pair.vm_dir, "router")
        elif why == "shutdown":
            intent.mark_shutdown(pair.vm_dir)
        elif why != "supervisord was away":
            monkeypatch.setattr(places, "state_of", lambda _: "t" if why == "traced" else "D")
        for _ in range(8):
            if why == "supervisord was away":
                clock.now_s += 60
            wait_for(pair, clock, STILL_S - 2)
        assert state_of(holder.identity) == "S"


def test_router_that_was_frozen_together_with_supervisord_is_left_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with router(pair, frozen=True) as frozen:
        clock = Clock(monkeypatch)
        wait_for(pair, clock, 1)
        clock.now_s += times.SUPERVISORD_LATE_S - 1
        wait_for(pair, clock, 1)  # as late as it may be
        assert state_of(frozen.identity) == "T"
        frozen.signal(signal.SIGCONT, "S")
        wait_for(pair, clock, 60)
        assert state_of(frozen.identity) == "S"


def test_router_that_freezes_again_and_again_is_ended_ever_more_slowly(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones at once, as the rule says, and then after waits that double."""
    clock = Clock(monkeypatch)
    monkeypatch.setattr("snsnode.supervisord.router_guard.random", SimpleNamespace(random=lambda: 0.5))
    took_s: list[float] = []
    for _ in range(RULE.intensity + 10):
        with router(pair, frozen=True) as frozen:
            before_s = clock.now_s
            while len(read(pair.vm_dir.journal)) == len(took_s) and clock.now_s < before_s + 600:
                wait_for(pair, clock, 1)
            assert wait_dead(frozen.identity, 5)
            took_s.append(clock.now_s - before_s)
            os.waitid(os.P_PID, frozen.identity.pid, os.WEXITED | os.WNOWAIT)
        pair.programs["router"].look()
    assert max(took_s[: RULE.intensity]) <= FROZEN_S + 2
    assert took_s[-1] > 10 * FROZEN_S
    assert budget.read(pair.vm_dir).totals == {}


def test_child_that_never_gets_as_far_as_its_lock_is_ended(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    with sleeper() as child:
        program = pair.programs["router"]
        program.pid, program.laststart = child.identity.pid, 1.0
        clock = Clock(monkeypatch)
        for _ in range(int(times.START_S) + 1):
            clock.now_s += 1
            program._look_at_router()
        assert wait_dead(child.identity, 5)


def test_child_that_could_not_write_its_pid_file_is_watched_by_its_counter(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(pair, "router", shows="its own") as child:
        pair.vm_dir.pid("router").unlink()
        program = pair.programs["router"]
        program.pid = child.identity.pid
        clock = Clock(monkeypatch)
        for _ in range(4 * int(times.START_S)):
            clock.now_s += 1
            move(child)
            program._look_at_router()
        assert state_of(child.identity) == "S"
