"""Who called: the machine at the other end of a call, as gRPC names it.

Called by ``service`` and ``exchange``, which know machines by the addresses of the spec: an IP address, or a host
name that is looked up here. A name that cannot be looked up is nobody's. No other names are ever looked up, and a
few threads do it for all.
"""

import asyncio
import ipaddress
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from urllib.parse import unquote

LOOKUP_S = 1.0  # a resolver that takes longer is as good as none; its answer counts for the next caller
KEPT_S = 30.0  # an answer; a name moves to another machine slower than that
FAILURE_KEPT_S = 2.0
LOOKUPS_AT_ONCE = 4  # threads; a resolver that is silent holds them up, and with them other names, not us

HERE = "this machine"


class Machines:
    """Tells callers by their machines; keeps what the resolver said. Belongs to one event loop."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, frozenset[str]]] = {}  # until when, and the machines
        self._lookups: dict[str, asyncio.Future[frozenset[str]]] = {}
        self._waiting: deque[tuple[str, asyncio.Future[frozenset[str]]]] = deque()
        self._threads = 0

    async def is_from(self, peer: str, address: str) -> bool:
        """Tell whether ``peer`` is of the machine at ``address``, of the spec; a name takes at most ``LOOKUP_S``.

        ``peer`` is as gRPC names it. The addresses of this machine count as one.
        """
        family, _, rest = unquote(peer).partition(":")
        if family not in ("ipv4", "ipv6"):
            return False
        caller = _ip(rest.rpartition(":")[0].strip("[]"))
        if caller is None:
            return False
        ip = _ip(address)
        machines = frozenset((ip,)) if ip is not None else await self._named(address)
        # Between two of its own addresses a machine may call from either.
        return caller in machines or (_is_here(caller) and any(map(_is_here, machines)))

    def forget(self, names: frozenset[str]) -> None:
        """Keep no answers but those for ``names``, which the spec has."""
        self._answers = {name: answer for name, answer in self._answers.items() if name in names}

    async def _named(self, name: str) -> frozenset[str]:
        until_s, machines = self._answers.get(name, (0.0, frozenset()))
        if time.monotonic() < until_s:
            return machines
        lookup = self._lookups.get(name)
        if lookup is None:
            lookup = self._lookups[name] = asyncio.get_running_loop().create_future()
            lookup.add_done_callback(lambda done: self._keep(name, done.result()))
            self._waiting.append((name, lookup))
            self._start_threads()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOKUP_S):
                return await asyncio.shield(lookup)
        return machines  # what was true a while ago is better than nothing

    def _start_threads(self) -> None:
        """Look the next names up in threads that nobody waits for: a resolver may take longer than our end."""
        while self._waiting and self._threads < LOOKUPS_AT_ONCE:
            name, lookup = self._waiting.popleft()
            thread = threading.Thread(target=self._look_up, args=(name, lookup), name="look-up", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: as good as no resolver
                lookup.set_result(frozenset())
            else:
                self._threads += 1

    def _keep(self, name: str, machines: frozenset[str]) -> None:
        del self._lookups[name]
        self._answers[name] = (time.monotonic() + (KEPT_S if machines else FAILURE_KEPT_S), machines)

    def _look_up(self, name: str, lookup: "asyncio.Future[frozenset[str]]") -> None:
        infos = []
        with suppress(OSError, UnicodeError):  # UnicodeError: a label that is too long
            infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        machines = frozenset(ip for info in infos if (ip := _ip(str(info[4][0]))) is not None)
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            lookup.get_loop().call_soon_threadsafe(self._looked_up, lookup, machines)

    def _looked_up(self, lookup: "asyncio.Future[frozenset[str]]", machines: frozenset[str]) -> None:
        self._threads -= 1
        lookup.set_result(machines)
        self._start_threads()


def _ip(address: str) -> str | None:
    """Return an IP address in its one spelling, any loopback address as ``HERE``; None for a name."""
    if address == "localhost":
        return HERE
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return HERE if ip.is_loopback else str(ip)


def _is_here(ip: str) -> bool:
    """Tell whether ``ip`` is an address of this machine: only processes of this machine call from one."""
    if ip == HERE:
        return True
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    # Not by binding to it: a machine may be told to let everybody have every address (ip_nonlocal_bind).
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((ip, 9))  # sends nothing
        return bool(probe.getsockname()[0] == ip)
    return False
