"""The one way to end a process: exactly the one that was meant, what is waited for, and what came of it.

A victim is named by its identity, which a pidfd checks right before each signal: one that is gone gets none, and
whoever has its number by now gets none either. Nobody else in the product signals a process (a unit test looks),
except supervisord its own children.

``kill``, ``ask`` and ``send`` signal and wait for nothing, as supervisord's loop needs it; ``end`` and its like
wait, blocking; ``pair.fence`` waits on an event loop. Every wait is bounded: a process in a system call dies only
when that returns, and ``STAYS`` says so.

All raise OSError where this process is short of descriptors or memory: that says nothing about the victim.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from enum import Enum
from typing import cast

from snsnode.node.process import Identity, send_signal, state_of, wait_dead


class Outcome(Enum):
    """What came of it."""

    GONE = "was gone already"  # nothing was signalled
    SIGNALLED = "was signalled"  # and not waited for
    DEAD = "is dead"
    STAYS = "does not die"
    FORBIDDEN = "is another user's"

    @property
    def is_dead(self) -> bool:
        """The kernel says that it is dead."""
        return self in (Outcome.GONE, Outcome.DEAD)


# --- signals, without a wait ------------------------------------------------------------------------------------


def send(victim: Identity, signum: int) -> Outcome:
    """Signal exactly this process: SIGNALLED, GONE or FORBIDDEN."""
    try:
        # No Signals(signum): most real-time signals have no name.
        return Outcome.SIGNALLED if send_signal(victim, cast(signal.Signals, signum)) else Outcome.GONE
    except PermissionError:
        return Outcome.FORBIDDEN


def kill(victim: Identity) -> Outcome:
    """SIGKILL exactly this process."""
    return send(victim, signal.SIGKILL)


def ask(victim: Identity) -> Outcome:
    """Ask exactly this process to end, by SIGTERM; a frozen one, which would not hear it, is killed."""
    return send(victim, fitting(victim, signal.SIGTERM))


def fitting(victim: Identity, signum: int) -> int:
    """Return ``signum``, or SIGKILL for a frozen process: it cannot drain, and would sit out the whole grace."""
    return signal.SIGKILL if state_of(victim) == "T" else signum


def kill_child(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL a child of ours, which has its number until we reap it: that takes no descriptor."""
    child.kill()


def send_to_group(leader: Identity, signum: int) -> None:
    """Signal the group of a child of ours that was not reaped yet, so that its number is nobody else's."""
    if state_of(leader) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader.pid, signum)


# --- with a wait, blocking --------------------------------------------------------------------------------------


def kill_and_wait(victim: Identity, within_s: float) -> Outcome:
    """SIGKILL exactly this process and wait for its death: DEAD, GONE, STAYS or FORBIDDEN."""
    return _awaited(victim, kill(victim), within_s)


def end(victim: Identity, grace_s: float, within_s: float) -> Outcome:
    """Ask exactly this process to end, kill it after ``grace_s``, and wait for its death for ``within_s`` more."""
    outcome = _awaited(victim, ask(victim), grace_s)
    return kill_and_wait(victim, within_s) if outcome is Outcome.STAYS else outcome


def end_all(victims: Iterable[Identity], grace_s: float, within_s: float) -> dict[Identity, Outcome]:
    """As ``end``, of several at once: they share the grace."""
    outcomes = {victim: ask(victim) for victim in victims}
    until_s = time.monotonic() + grace_s
    for victim, outcome in outcomes.items():
        outcomes[victim] = _awaited(victim, outcome, until_s - time.monotonic())
    stay = [victim for victim, outcome in outcomes.items() if outcome is Outcome.STAYS]
    return outcomes | kill_all(stay, within_s)


def kill_all(victims: Iterable[Identity], within_s: float) -> dict[Identity, Outcome]:
    """Kill all, so that none lives to act on the death of another: all are frozen first."""
    victims = list(victims)
    for victim in victims:
        send(victim, signal.SIGSTOP)
    outcomes = {victim: kill(victim) for victim in victims}
    until_s = time.monotonic() + within_s
    for victim, outcome in outcomes.items():
        outcomes[victim] = _awaited(victim, outcome, until_s - time.monotonic())
    return outcomes


def _awaited(victim: Identity, signalled: Outcome, within_s: float) -> Outcome:
    if signalled is not Outcome.SIGNALLED:
        return signalled
    return Outcome.DEAD if wait_dead(victim, within_s) else Outcome.STAYS
