"""How many calls each kind of caller may have in flight at one server. Pure: the time is passed in.

Called by ``handlers`` for each call, before its message is read. A call belongs to one of four shares, and no
share can take another's room, so a stranger who fills one keeps neither the servers of the cluster nor those who
are logged in from calling:

- *cluster*: registrations, crash reports, tables of other routers, heartbeats;
- *inside*: calls over a connection on which somebody logged in;
- *watch*: open health watches, which cost a stranger nothing and last for ever;
- *outside*: all else.

Each address has a bound of its own, but for loopback: there many clients share one, and another user of the same
machine has cheaper ways to be a nuisance.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from snsnode.base.errors import Full

_CLUSTER = frozenset(
    {
        "/sns.v1.Router/RegisterServer",
        "/sns.v1.Router/Crash",
        "/sns.v1.Router/Exchange",
        "/sns.v1.Master/KeepAlive",
    }
)
_WATCH = "/grpc.health.v1.Health/Watch"
LOGIN = "/sns.v1.SNSService/Login"


class Share(Enum):
    """Whose room a call takes."""

    CLUSTER = "registrations and heartbeats"
    INSIDE = "calls of those who are logged in"
    WATCH = "health watches"
    OUTSIDE = "calls of those who are not logged in"


@dataclass(frozen=True, slots=True)
class Bound:
    """The most calls in flight: in all, and of one address; a call that lasts longer may be ended for another."""

    in_all: int
    of_one_address: int
    patience_s: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one server.

    ``inside``: three streams each of 10,000 clients. ``outside``: more than the 10,000 clients that a router lets
    wait. An address may be that of an office, so its bounds are wide.
    """

    cluster: Bound = Bound(1_024, 64, 10.0)
    inside: Bound = Bound(32_768, 8_192, 30.0)
    watch: Bound = Bound(512, 32, float("inf"))
    outside: Bound = Bound(12_288, 1_024, 10.0)

    def of(self, share: Share) -> Bound:
        """Return the bound of ``share``."""
        match share:
            case Share.CLUSTER:
                return self.cluster
            case Share.INSIDE:
                return self.inside
            case Share.WATCH:
                return self.watch
            case Share.OUTSIDE:
                return self.outside

    @property
    def in_all(self) -> int:
        """All shares together."""
        return sum(self.of(share).in_all for share in Share)


INSIDERS_MAX = 32_768  # connections that are remembered as logged in
# Where a share is full, a call without its message is ended after this: an honest client sends both together.
MESSAGE_DUE_S = 0.5


@dataclass(eq=False, slots=True)
class Admitted:
    """One call in flight. ``end`` ends it; a stream, once its message is here, lasts as long as it likes."""

    share: Share
    address: str | None
    since_s: float
    lasts: bool
    end: Callable[[], object]
    is_in: bool = True


@dataclass(slots=True)
class _Count:
    silent: dict[Admitted, None] = field(default_factory=dict)  # oldest first; those whose message has not come
    calls: dict[Admitted, None] = field(default_factory=dict)  # first heard first; those that may become overdue
    number: int = 0  # of all, with the streams
    by_address: dict[str, int] = field(default_factory=dict)


class Admission:
    """The calls in flight at one server."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._counts = {share: _Count() for share in Share}
        self._insiders: OrderedDict[str, None] = OrderedDict()  # by peer, which is one connection

    def enter(
        self, method: str, peer: str, now_s: float, end: Callable[[], object], *, lasts: bool = False
    ) -> Admitted:
        """Admit a call; ``heard`` and ``leave`` must follow. ``lasts``: it is a stream, and never overdue.

        Raises:
            Full: there is no room for it; nothing was counted.
        """
        share = self._share(method, peer)
        bound, count = self._bounds.of(share), self._counts[share]
        if count.number >= bound.in_all:
            self._end_overdue(count, bound, now_s)
        if count.number >= bound.in_all:
            raise Full(
                f"cannot serve this call: {bound.in_all} {share.value} are in flight, the limit; try elsewhere"
            )
        address = address_of(peer)
        if address is not None:
            of_it = count.by_address.get(address, 0)
            if of_it >= bound.of_one_address:
                raise Full(
                    f"cannot serve this call: {bound.of_one_address} {share.value} of your address are in flight, "
                    "the limit of one address; try again when some are answered"
                )
            count.by_address[address] = of_it + 1
        count.number += 1
        admitted = Admitted(share, address, now_s, lasts, end)
        count.silent[admitted] = None
        return admitted

    def heard(self, admitted: Admitted) -> None:
        """Note that a call's message has come, its first one; safe to repeat."""
        count = self._counts[admitted.share]
        if admitted in count.silent:
            del count.silent[admitted]
            if not admitted.lasts:
                count.calls[admitted] = None

    def leave(self, admitted: Admitted) -> None:
        """Count a call as over; safe to repeat."""
        if not admitted.is_in:
            return
        admitted.is_in = False
        count = self._counts[admitted.share]
        count.silent.pop(admitted, None)
        count.calls.pop(admitted, None)
        count.number -= 1
        if admitted.address is not None:
            left = count.by_address[admitted.address] - 1
            if left:
                count.by_address[admitted.address] = left
            else:
                del count.by_address[admitted.address]

    def logged_in(self, peer: str) -> None:
        """Note that somebody logged in over the connection ``peer``; the oldest are forgotten."""
        self._insiders[peer] = None
        self._insiders.move_to_end(peer)
        if len(self._insiders) > INSIDERS_MAX:
            self._insiders.popitem(last=False)

    def _share(self, method: str, peer: str) -> Share:
        if method == _WATCH:
            return Share.WATCH
        if method in _CLUSTER:
            return Share.CLUSTER
        return Share.INSIDE if peer in self._insiders else Share.OUTSIDE

    def _end_overdue(self, count: _Count, bound: Bound, now_s: float) -> None:
        """End the calls whose messages do not come, and those that take so long that nobody waits for them any
        more, as where a client never reads. Their room is free at once."""
        for calls, patience_s in ((count.silent, MESSAGE_DUE_S), (count.calls, bound.patience_s)):
            for admitted in tuple(calls):
                if now_s - admitted.since_s < patience_s:
                    break
                self.leave(admitted)
                admitted.end()


@lru_cache(maxsize=4096)
def address_of(peer: str) -> str | None:
    """Return the address that gRPC's name of a peer tells; None for this machine's own, which have no bound.

    For IPv6 it is the network of 64 bits: a host that has one address there has all of them.
    """
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None  # a socket in the file system
    host = rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return None if address.is_loopback else str(ipaddress.ip_network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return None if address.is_loopback else str(address)
