"""Virtual time: one queue of events, and the actors whose events they are.

An actor that is frozen keeps what comes for it and gets all of it, late, when it goes on; what comes for a dead
one is gone. Nothing here knows the real time, so a run repeats exactly.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Timer = list[Any]  # [at_s, order, actor, act, args]; act is None once it was cancelled


class Actor:
    """Whoever has events of its own: a process or a client, on the machine called ``host``."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.alive = True
        self.frozen = 0  # for how many reasons it does not run
        self.backlog: list[Timer] = []


class Clock:
    """The time, in seconds from the start of the run, and what is to happen."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.steps = 0
        self._order = 0
        self._queue: list[Timer] = []

    def after(self, delay_s: float, actor: Actor | None, act: Callable[..., object], *args: Any) -> Timer:
        """Let ``act`` happen to ``actor`` in ``delay_s``; None is for what nobody can stop."""
        self._order += 1
        timer: Timer = [self.now_s + delay_s, self._order, actor, act, args]
        heappush(self._queue, timer)
        return timer

    def run(self, until_s: float) -> None:
        """Let everything happen that is due until ``until_s``, in order."""
        queue = self._queue
        while queue and queue[0][0] <= until_s:
            timer = heappop(queue)
            _, _, actor, act, args = timer
            if act is None:
                continue
            self.now_s = timer[0]
            if actor is not None:
                if not actor.alive:
                    continue
                if actor.frozen:
                    actor.backlog.append(timer)
                    continue
            self.steps += 1
            act(*args)
        self.now_s = until_s

    def freeze(self, actor: Actor) -> None:
        """Let nothing happen to ``actor`` until it was thawed as often."""
        actor.frozen += 1

    def thaw(self, actor: Actor) -> None:
        """Take one reason back; with the last one everything that it missed happens now, in order."""
        actor.frozen -= 1
        if actor.frozen == 0:
            backlog, actor.backlog = actor.backlog, []
            for timer in backlog:
                self._order += 1
                timer[0], timer[1] = self.now_s, self._order
                heappush(self._queue, timer)


def cancel(timer: Timer | None) -> None:
    """Let ``timer`` not happen; safe for one that did."""
    if timer is not None:
        timer[3] = None
