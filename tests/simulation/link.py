"""A client's connection to a master, and the timelines on it: in order, and broken as a whole."""

from collections import deque
from typing import TYPE_CHECKING

from snsnode.base.errors import SnsError, Unavailable
from snsnode.client.keeper import RETIRE_S
from snsnode.rpc import social_pb2
from snsnode.social.sessions import LEASE_S
from tests.simulation import delays
from tests.simulation.clock import Timer
from tests.simulation.network import RESET, Call

if TYPE_CHECKING:
    from tests.simulation.client import Client
    from tests.simulation.master import Master

ENDED = Unavailable("the server ended the session")
SILENT = Unavailable("ping timeout")
CLOSED = Unavailable("the channel was closed")


class Link:
    """Made by a client that logged in. What breaks it is told to the client at ``Client.broken``."""

    def __init__(self, client: "Client", master: "Master") -> None:
        self.client = client
        self.master = master
        self.username = client.name
        self.closed = False
        self.retired = False
        self.calls: dict[Call, None] = {}
        self.streams: dict[Stream, None] = {}
        self._clock = client.world.clock
        self._network = client.world.network
        self._rng = client.rng
        self._doubted = False
        master.links[self] = None
        if not master.alive:
            self.server_died()
        elif not self.is_sound():
            self.doubt()

    def is_sound(self) -> bool:
        """Tell whether pings are answered: by threads of C, so also where the loop hangs."""
        there, here = self.master.host, self.client.host
        answers = self.master.alive and self.master.letter != "T" and not self.master.vm.paused
        return answers and self._network.is_open(there, here) and self._network.is_open(here, there)

    def doubt(self) -> None:
        """Something broke between both ends: unless it is mended before, the pings will tell them."""
        if not self._doubted and not self.closed:
            self._doubted = True
            self._clock.after(self._rng.uniform(*delays.PING_S), None, self._ping_timed_out)

    def _ping_timed_out(self) -> None:
        self._doubted = False
        if not self.closed and not self.is_sound():
            self.end(SILENT)

    def server_died(self) -> None:
        """The kernel resets the connection; from a machine without power nothing comes."""
        if self._network.is_open(self.master.host, self.client.host):
            self._clock.after(delays.around(delays.RESET_S, self._rng), None, self.end, RESET)
        else:
            self.doubt()

    def tell(self, leaving: bool) -> None:
        """Let the client know whether the server leaves."""
        self._network.send(
            self.master.host, self.client.host, self.client, self.client.told_leaving, self, leaving
        )

    def retire(self) -> None:
        """Leave gently: the timelines go on elsewhere, the calls in flight have a moment."""
        self.retired = True
        for stream in tuple(self.streams):
            stream.close()
        self._clock.after(RETIRE_S, self.client, self.end)
        self.end_if_quiet()

    def end_if_quiet(self) -> None:
        """End a retired connection whose calls are answered."""
        if self.retired and not self.calls:
            self.end()

    def close_by_server(self) -> None:
        """The server drains."""
        self._network.send(self.master.host, self.client.host, None, self.end, ENDED)

    def end(self, error: SnsError = CLOSED) -> None:
        """Break the connection; everything on it fails at the client's side. Safe to call twice."""
        if self.closed:
            return
        self.closed = True
        self.master.links.pop(self, None)
        for stream in tuple(self.streams):
            stream.close()
        for call in tuple(self.calls):
            call.fail(error)
        if self.master.alive:
            stamp = self.master.sessions.get(self.username, 0)
            self._clock.after(LEASE_S, self.master, self.master.forget, self.username, stamp)
        self.client.broken(self, error)


class Stream:
    """One open timeline. The master puts replies in, the client takes them out, in order."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.closed = False
        self.opened = False
        self._cursor = 0
        self._username = link.username
        self._master = link.master
        self._outbox: deque[social_pb2.TimelineReply] = deque()
        self._timer: Timer | None = None
        link.streams[self] = None

    def open(self, master: "Master", after: int | None) -> None:
        """Begin: the history and the cursor of its snapshot, or what came after ``after``."""
        if self.opened:
            return  # the request came twice; a stream is one connection's, and opens once
        self.opened, store = True, master.world.store
        master.streams[self] = None
        master.world.readers[self._username][self] = None
        if after is None:
            self._cursor = store.last_post_id
            for post_id in store.history(self._username):
                post = store.posts[post_id - 1].live
                self._outbox.append(social_pb2.TimelineReply(history=post))
        else:
            self._cursor = min(after, store.last_post_id)
        entered = social_pb2.TimelineReply.Entered(cursor=self._cursor)
        self._send(social_pb2.TimelineReply(entered=entered))
        self.pump()

    def pump(self) -> None:
        """Send what is new after the cursor."""
        store = self._master.world.store
        while not self.closed and (page := store.timeline_after(self._username, self._cursor)):
            self._cursor = page[-1]
            for post_id in page:
                self._send(store.posts[post_id - 1])

    def close(self) -> None:
        """End it, for both sides."""
        if not self.closed:
            self.closed = True
            self._outbox.clear()
            self.link.streams.pop(self, None)
            self._master.streams.pop(self, None)
            self._master.world.readers[self._username].pop(self, None)

    def _send(self, reply: social_pb2.TimelineReply) -> None:
        self._outbox.append(reply)
        if self._timer is None:
            network = self._master.world.network
            delay_s = network.delay_s(self._master.host, self.link.client.host)
            if network.weather.drop and network.rng.random() < network.weather.drop:
                delay_s += delays.RETRANSMIT_S
            self._timer = self._master.world.clock.after(delay_s, self.link.client, self._arrive)

    def _arrive(self) -> None:
        """Hand over all that was sent so far; TCP tries again where nothing gets through."""
        self._timer = None
        if self.closed:
            return
        network, clock = self._master.world.network, self._master.world.clock
        if not network.is_open(self._master.host, self.link.client.host):
            self._timer = clock.after(delays.RETRANSMIT_S, self.link.client, self._arrive)
            return
        outbox, self._outbox = self._outbox, deque()
        for reply in outbox:
            if not self.closed:
                self.link.client.receive(self, reply)
