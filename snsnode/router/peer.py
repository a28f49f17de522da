"""Who called: the machine at the other end of a call, as gRPC names it.

Called by ``service`` and ``exchange``, which know machines by the addresses of the spec: an IP address, or a host
name that is looked up here. A name that cannot be looked up is nobody's.
"""

import asyncio
import ipaddress
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import unquote

LOOKUP_S = 1.0  # a resolver that takes longer is as good as none; its answer counts for the next caller
KEPT_S = 30.0  # an answer; a name moves to another machine slower than that
FAILURE_KEPT_S = 2.0
NAMES_MAX = 2_000  # whoever reports a crash names a host: the memory for answers is bounded


class Machines:
    """Tells callers by their machines; keeps what the resolver said. Belongs to one event loop."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, frozenset[str]]] = {}  # until when, and the machines
        self._lookups: dict[str, asyncio.Future[frozenset[str]]] = {}

    async def is_from(self, peer: str, address: str) -> bool:
        """Tell whether ``peer`` is of the machine at ``address``; a name takes ``LOOKUP_S`` at most."""
        family, _, rest = unquote(peer).partition(":")
        if family not in ("ipv4", "ipv6"):
            return False
        machine = _machine(address)
        machines = frozenset((machine,)) if machine is not None else await self._named(address)
        return _machine(rest.rpartition(":")[0].strip("[]")) in machines

    async def _named(self, name: str) -> frozenset[str]:
        until_s, machines = self._answers.get(name, (0.0, frozenset()))
        if time.monotonic() < until_s:
            return machines
        lookup = self._lookups.get(name)
        if lookup is None:
            if len(self._answers) >= NAMES_MAX:
                self._answers.clear()
            lookup = self._lookups[name] = asyncio.get_running_loop().create_future()
            lookup.add_done_callback(lambda done: self._keep(name, done.result()))
            # A thread of its own, which nobody waits for: a resolver may take longer than our end.
            threading.Thread(target=_look_up, args=(name, lookup), name="look-up", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOKUP_S):
                return await asyncio.shield(lookup)
        return machines  # what was true a while ago is better than nothing

    def _keep(self, name: str, machines: frozenset[str]) -> None:
        del self._lookups[name]
        self._answers[name] = (time.monotonic() + (KEPT_S if machines else FAILURE_KEPT_S), machines)


def _look_up(name: str, lookup: "asyncio.Future[frozenset[str]]") -> None:
    infos = []
    with suppress(OSError, UnicodeError):  # UnicodeError: a label that is too long
        infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    machines = frozenset(machine for info in infos if (machine := _machine(str(info[4][0]))) is not None)
    with suppress(RuntimeError):  # the loop has ended
        lookup.get_loop().call_soon_threadsafe(_answer, lookup, machines)


def _answer(lookup: "asyncio.Future[frozenset[str]]", machines: frozenset[str]) -> None:
    if not lookup.done():
        lookup.set_result(machines)


def _machine(address: str) -> str | None:
    """Return what the addresses of one machine share, as far as they tell; None for a name.

    All loopback addresses are one machine.
    """
    if address == "localhost":
        return "loopback"
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return "loopback" if ip.is_loopback else str(ip)
