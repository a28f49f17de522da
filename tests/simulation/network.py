"""The network: delay, loss, duplication, reordering, cut paths; calls with deadlines, and servers that queue.

Stricter than TCP: a request or a reply may be lost alone, come twice, or overtake another. A call that its caller
gave up may still arrive and take effect.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snsnode.base.errors import DeadlineExceeded, SnsError, Unavailable
from tests.simulation import delays
from tests.simulation.clock import Actor, Clock, Timer, cancel


@dataclass(frozen=True, slots=True)
class Weather:
    """What the network does to each message: probabilities, and how much later a delayed one comes."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.0


_FINE = Weather()


class Port:
    """An address: a machine, and the server that listens there, if any does."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.listener: Server | None = None


class Network:
    """Carries messages between machines."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self.clock = clock
        self.rng = rng
        self.weathers: list[Weather] = []  # the last one counts
        self.calm: set[str] = set()  # machines that the weather spares: a database's protocol repeats nothing
        self._down: set[str] = set()  # machines without power
        self._cuts: dict[tuple[str, str], int] = {}

    @property
    def weather(self) -> Weather:
        """What the network does to messages now."""
        return self.weathers[-1] if self.weathers else _FINE

    def cut(self, source: str, target: str) -> None:
        """Lose everything from ``source`` to ``target``, until mended as often."""
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1

    def mend(self, source: str, target: str) -> None:
        """Take one cut back."""
        self._cuts[source, target] -= 1
        if self._cuts[source, target] == 0:
            del self._cuts[source, target]

    def power(self, host: str, on: bool) -> None:
        """Switch a machine's network off or on."""
        (self._down.discard if on else self._down.add)(host)

    def is_open(self, source: str, target: str) -> bool:
        """Tell whether a message gets from ``source`` to ``target``."""
        if self._down and (source in self._down or target in self._down):
            return False
        return not self._cuts or (source, target) not in self._cuts

    def delay_s(self, source: str, target: str) -> float:
        """Draw how long a message takes."""
        return (delays.LOCAL_S if source == target else delays.NETWORK_S) * (0.5 + self.rng.random())

    def send(self, source: str, target: str, actor: Actor | None, act: Callable[..., object], *args: Any) -> None:
        """Let ``act`` happen at ``target`` when the message arrives: never, once, or twice."""
        if not self.is_open(source, target):
            return
        weather = self.weather if source != target and not {source, target} & self.calm else _FINE
        if weather.drop and self.rng.random() < weather.drop:
            return
        self.clock.after(self._late_s(source, target, weather), actor, act, *args)
        if weather.duplicate and self.rng.random() < weather.duplicate:
            self.clock.after(self._late_s(source, target, weather), actor, act, *args)

    def _late_s(self, source: str, target: str, weather: Weather) -> float:
        delay_s = self.delay_s(source, target)
        if weather.delay and self.rng.random() < weather.delay:
            delay_s += self.rng.random() * weather.delay_s
        return delay_s

    def call(
        self,
        caller: Actor,
        port: Port,
        method: str,
        request: Any,
        timeout_s: float,
        on_end: Callable[[Any, SnsError | None], object],
    ) -> "Call":
        """Call ``method``; ``on_end`` gets the reply or the error, once, unless the call is cancelled."""
        call = Call(self, caller, port, method, request, on_end)
        call.timer = self.clock.after(timeout_s, caller, call.time_out)
        self.send(caller.host, port.host, None, call.arrive)
        return call


class Call:
    """One remote call, as both sides see it."""

    __slots__ = (
        "_end",
        "arrived",
        "caller",
        "cancelled",
        "method",
        "network",
        "over",
        "port",
        "request",
        "server",
        "timer",
    )  # fmt: skip

    def __init__(
        self,
        network: Network,
        caller: Actor,
        port: Port,
        method: str,
        request: Any,
        end: Callable[[Any, SnsError | None], object],
    ) -> None:
        self.network = network
        self.caller = caller
        self.port = port
        self.method = method
        self.request = request
        self._end = end
        self.timer: Timer | None = None
        self.over = False
        self.arrived = False
        self.cancelled = False  # while it stood in the server's queue: it is never begun
        self.server: Server | None = None

    # --- the server's side ----------------------------------------------------------------------------------

    def arrive(self) -> None:
        """Reach the machine: somebody listens, or it is refused."""
        server = self.port.listener
        if server is None:
            self.network.send(self.port.host, self.caller.host, self.caller, self.fail, _REFUSED)
            return
        self.arrived, self.server = True, server
        server.calls[self] = None
        server.work(server.cost_s(self), self)

    def reply(self, value: Any) -> None:
        """Answer the caller."""
        self._left()
        self.network.send(self.port.host, self.caller.host, self.caller, self._finish, value, None)

    def refuse(self, error: SnsError) -> None:
        """Answer with an error."""
        self._left()
        self.network.send(self.port.host, self.caller.host, self.caller, self._finish, None, error)

    def _left(self) -> None:
        if self.server is not None:
            self.server.calls.pop(self, None)

    # --- the caller's side ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Give up; ``on_end`` is not called any more."""
        self.over = True
        self.cancelled = self.arrived
        self._left()
        cancel(self.timer)

    def fail(self, error: SnsError) -> None:
        """End with ``error``, known at the caller's side."""
        if not self.over:
            self.cancel()
            self._end(None, error)

    def time_out(self) -> None:
        """The deadline passed."""
        self.fail(_TIMED_OUT)

    def _finish(self, value: Any, error: SnsError | None) -> None:
        if not self.over:
            self.over = True
            cancel(self.timer)
            self._end(value, error)


_REFUSED = Unavailable("connection refused")
_TIMED_OUT = DeadlineExceeded("deadline exceeded")
RESET = Unavailable("connection reset")


class Server(Actor):
    """A process with one core that serves calls one after the other."""

    def __init__(self, host: str, clock: Clock) -> None:
        super().__init__(host)
        self.clock = clock
        self.calls: dict[Call, None] = {}  # arrived and not answered
        self._inbox: deque[tuple[float, Any, tuple[Any, ...]]] = deque()
        self._busy = False

    def cost_s(self, call: Call) -> float:
        """Return what ``call`` takes of the core."""
        raise NotImplementedError

    def handle(self, call: Call) -> None:
        """Serve ``call``."""
        raise NotImplementedError

    def work(self, cost_s: float, job: Call | Callable[..., object], *args: Any) -> None:
        """Do ``job`` when its turn has come and ``cost_s`` of the core's time has passed."""
        self._inbox.append((cost_s, job, args))
        if not self._busy:
            self._begin()

    def _begin(self) -> None:
        skipped_s = 0.0
        while self._inbox:
            cost_s, job, args = self._inbox.popleft()
            if isinstance(job, Call) and job.cancelled:
                skipped_s += delays.CANCELLED_S
                continue
            self._busy = True
            self.clock.after(skipped_s + cost_s, self, self._done, job, args)
            return
        self._busy = False

    def _done(self, job: Any, args: tuple[Any, ...]) -> None:
        if not isinstance(job, Call):
            job(*args)
        elif not job.cancelled:
            self.handle(job)
        self._begin()

    def end_calls(self, within_s: Callable[[], float]) -> None:
        """Let the callers notice that this server is no more; where nothing gets through, their time runs out."""
        calls, self.calls = self.calls, {}
        for call in calls:
            if call.network.is_open(self.host, call.caller.host):
                self.clock.after(within_s(), call.caller, call.fail, RESET)
