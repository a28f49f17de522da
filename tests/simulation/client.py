"""A client: what the keeper, the calls and the timeline of snsnode/client do, around the same pure machines."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from snsnode.base.errors import SnsError
from snsnode.client import attempts, moves, retry, rounds
from snsnode.client.client import DEADLINE_S
from snsnode.client.resume import Progress, broken
from snsnode.rpc import social_pb2
from tests.simulation.clock import Actor, Timer, cancel
from tests.simulation.link import CLOSED, Link, Stream
from tests.simulation.network import Call

if TYPE_CHECKING:
    from tests.simulation.world import World

Ended = Callable[[Any, SnsError | None], object]
Send = Callable[[Link, float, Ended], Call]


class Client(Actor):
    """One user: posts now and then, and keeps its timeline open."""

    def __init__(self, world: "World", name: str, host: str) -> None:
        super().__init__(host)
        self.world = world
        self.name = name
        self.rng = world.rng(name)
        self.link: Link | None = None
        self.waiting: dict[Trial, None] = {}
        self.progress = Progress()
        self.posts = 0  # made so far
        self.answered_s = 0.0
        self.waits_since_s: float | None = None  # when the post that is not answered yet was begun
        self.served_s = 0.0  # when its timeline answered last
        self._links: dict[Link, None] = {}
        self._candidate: Link | None = None
        self._asks: dict[int, Call] = {}
        self._entry: Call | None = None
        self._timer: Timer | None = None
        self._thought: Timer | None = None
        self._stream: Stream | None = None
        self._opening = False  # the timeline is on its way
        self._state = retry.State(tuple(site.name for site in world.routers))

    def start(self) -> None:
        """Come: open the timeline, and post from time to time."""
        self._read()
        self._think()

    @property
    def is_reading(self) -> bool:
        """Tell whether its timeline is open."""
        return self._stream is not None and not self._stream.closed

    # --- the keeper ------------------------------------------------------------------------------------------

    def want(self) -> None:
        """A call needs a link."""
        self._step(moves.Wanted())

    def lost(self, link: Link, error: SnsError) -> None:
        """The link must not be used any more."""
        if link is self.link:
            self._step(moves.Lost(error))

    def slow(self, link: Link) -> None:
        """A call takes long."""
        if link is self.link:
            self._step(moves.Slow())

    def broken(self, link: Link, error: SnsError) -> None:
        """A connection broke, or we closed it."""
        self._links.pop(link, None)
        self._reopen(link)
        self.lost(link, error)

    def _reopen(self, link: Link) -> None:
        """Go on elsewhere with the timeline that was on ``link``."""
        if self._stream is not None and self._stream.link is link and not self._opening:
            self._opening = True
            self.world.clock.after(0.0, self, self._read)

    def _step(self, event: moves.Happened) -> None:
        machines, before = self.world.machines, self._state
        self._state, actions = machines.retry(self._state, event, self.world.clock.now_s, machines.unit(self.rng))
        for action in actions:
            if isinstance(action, moves.Ask) and isinstance(event, moves.Tick) and not before.untried:
                self.world.ledger.check_ask(self.world.routers[action.router], before.failures)
            self._act(action)

    def _act(self, action: moves.Action) -> None:
        match action:
            case moves.Ask(router, unreachable):
                self._ask(router, unreachable)
            case moves.StopAsking():
                for call in self._asks.values():
                    call.cancel()
                self._asks.clear()
            case moves.Enter(server, timeout_s):
                self._enter(server, timeout_s)
            case moves.Use(_, gently):
                self._use(gently)
            case moves.Drop():
                self.link = None
            case moves.Refuse(error):
                self.world.ledger.refused(self, error)
            case moves.Wake(at_s):
                cancel(self._timer)
                delay_s = max(0.0, at_s - self.world.clock.now_s)
                self._timer = self.world.clock.after(delay_s, self, self._step, moves.Tick())

    def _ask(self, router: int, unreachable: moves.Server | None) -> None:
        site = self.world.routers[router]

        def ended(server: moves.Server | None, error: SnsError | None) -> None:
            self._asks.pop(router, None)
            if server is not None:
                self._step(moves.Answered(router, server))
            else:
                self._step(moves.AskFailed(router, error.message if error is not None else ""))

        call = self.world.network.call(self, site.port, "connect", unreachable, rounds.ASK_TIMEOUT_S, ended)
        self._asks[router] = call

    def _enter(self, server: moves.Server, timeout_s: float) -> None:
        if self._entry is not None:
            self._entry.cancel()

        def ended(master: Any, error: SnsError | None) -> None:
            self._entry = None
            if error is not None:
                self._step(moves.EnterFailed(server, error))
                return
            self._candidate = Link(self, master)
            self._links[self._candidate] = None
            self._step(moves.LoggedIn(server))
            if self.link is not self._candidate:
                self._candidate.end()

        self._entry = self.world.network.call(
            self, self.world.vms[server.vm].port, "login", self.name, timeout_s, ended
        )

    def told_leaving(self, link: Link, leaving: bool) -> None:
        """The server says whether it leaves."""
        if link is self.link:
            self._step(moves.Leaving() if leaving else moves.Staying())

    def _use(self, gently: bool) -> None:
        link = self.link = self._candidate
        assert link is not None
        for old in tuple(self._links):
            if old is link or old.retired:
                continue
            if gently:
                old.retire()
                self._reopen(old)
            else:
                old.end()
        waiting, self.waiting = self.waiting, {}
        for trial in waiting:
            trial.go_on()

    # --- posts -----------------------------------------------------------------------------------------------

    def post(self) -> None:
        """Make the next post; one at a time."""
        self.posts += 1
        number = self.posts
        first_s = self.waits_since_s = self.world.clock.now_s
        sent = 0

        def send(link: Link, timeout_s: float, end: Ended) -> Call:
            nonlocal sent
            sent += 1
            request = (self.name, self.world.machines.request_id(number, sent), f"{self.name}/{number}")
            return self.world.network.call(self, link.master.vm.port, "post", request, timeout_s, end)

        def done(post_id: int | None, error: SnsError | None) -> None:
            self.waits_since_s = None
            if error is None:
                self.answered_s = self.world.clock.now_s
                self.world.ledger.acknowledged(self, number, first_s)
            else:
                self.world.ledger.call_failed(self, first_s, error)
            self._think()

        Trial(self, send, done).begin()

    def _think(self) -> None:
        self._thought = self.world.clock.after(self.rng.expovariate(1 / self.world.setup.think_s), self, self.post)

    def post_soon(self, within_s: float) -> None:
        """Make a post within this time, unless one is on its way."""
        if self.waits_since_s is None:
            cancel(self._thought)
            self._thought = self.world.clock.after(self.rng.random() * within_s, self, self.post)

    # --- the timeline ----------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Open the timeline, at its start or after the last post that was shown."""
        self._opening = True

        def send(link: Link, timeout_s: float, end: Ended) -> Call:
            self._leave()
            self.progress = broken(self.progress)
            stream = self._stream = Stream(link)
            request = (self.name, self.world.machines.resume_after(self.progress), stream)
            return self.world.network.call(self, link.master.vm.port, "enter", request, timeout_s, end)

        def done(_: Any, error: SnsError | None) -> None:
            if error is None and self.is_reading:
                self._opening = False
                self.served_s = self.world.clock.now_s
                self.world.ledger.served(self)
            else:
                self._leave()
                self._read()

        Trial(self, send, done).begin()

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def receive(self, stream: Stream, reply: social_pb2.TimelineReply) -> None:
        """Take one reply of the open timeline."""
        if stream is not self._stream:
            return
        entering = self.progress.after is None
        self.progress, shown = self.world.machines.take(self.progress, reply)
        if entering and self.progress.after is not None:
            self.world.ledger.entered(self, shown)
        elif shown:
            self.world.ledger.shown(self, shown)


class Trial:
    """One call, repeated until it is answered or out of time: what snsnode/client/calls.py does."""

    def __init__(self, client: Client, send: Send, done: Ended) -> None:
        self._client = client
        self._clock = client.world.clock
        self._send = send
        self._done = done
        self._attempts = attempts.Attempts(until=self._clock.now_s + DEADLINE_S)
        self._limit: Timer | None = None

    def begin(self) -> None:
        """Try, as soon as there is a link."""
        client = self._client
        if client.link is not None:
            self._attempt(client.link)
            return
        client.waiting[self] = None
        left_s = max(0.0, self._attempts.until - self._clock.now_s)
        self._limit = self._clock.after(left_s, client, self._out_of_time)
        client.want()

    def go_on(self) -> None:
        """There is a link now."""
        cancel(self._limit)
        self._clock.after(0.0, self._client, self.begin)

    def _out_of_time(self) -> None:
        self._client.waiting.pop(self, None)
        self._done(None, CLOSED)

    def _attempt(self, link: Link) -> None:
        client = self._client
        doubt = self._clock.after(attempts.SLOW_S, client, client.slow, link)

        def ended(value: Any, error: SnsError | None) -> None:
            cancel(doubt)
            link.calls.pop(call, None)
            link.end_if_quiet()
            if error is None:
                self._done(value, None)
            else:
                self._failed(link, error)

        timeout_s = self._attempts.timeout_s(self._clock.now_s)
        call = self._send(link, timeout_s, ended)
        link.calls[call] = None

    def _failed(self, link: Link, error: SnsError) -> None:
        client = self._client
        unit = client.world.machines.unit(client.rng)
        verdict = attempts.judge(self._attempts, error, self._clock.now_s, unit)
        self._attempts = verdict.attempts
        if verdict.lost:
            client.lost(link, error)
        if verdict.final or verdict.pause_s is None:
            self._done(None, error)
        else:
            self._clock.after(verdict.pause_s, client, self.begin)
