"""Ports for tests, below the range that the kernel gives to outgoing connections."""

import socket
from collections.abc import Iterator

_FIRST, _LAST, _BLOCK = 12_000, 30_000, 50
_claims: list[socket.socket] = []


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on and that no test, here or in a process beside, got."""
    for port in _candidates:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is no free port")


def _ports() -> Iterator[int]:
    """Yield ports of blocks that this process claims as it goes, and keeps until it ends."""
    for first in range(_FIRST, _LAST, _BLOCK):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0snsnode-test-ports-{first}")  # of this network namespace, as ports are; ends with us
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        yield from range(first, first + _BLOCK)


_candidates = _ports()
