"""A TCP port, taken before its server is ready: bound, and not listening, so that clients are refused at once.

Called by a master, which must not spend an epoch on a port that is somebody else's, and must not let clients wait
in the backlog of a server that does not serve yet.
"""

import errno
import socket
import time
from typing import Any

from snsnode.base.errors import Held
from snsnode.node.config import Endpoint

_RETRY_S = 0.005
# An address that this machine does not have, such as ::1 where IPv6 is switched off: nobody is reached there.
_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class Reservation:
    """The sockets of an endpoint, one for each address of its name; a context manager that closes them."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets

    def close(self) -> None:
        """Let go of the port: our own server has it by now."""
        for each in self._sockets:
            each.close()

    def __enter__(self) -> "Reservation":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def targets(self) -> list[str]:
        """What is bound, each as gRPC wants it."""
        names = [each.getsockname()[:2] for each in self._sockets]
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in names]


def reserve(endpoint: Endpoint, within_s: float = 0.0) -> Reservation:
    """Bind the endpoint, at every address of its name; close it once the server itself has bound.

    With SO_REUSEADDR, as gRPC binds (socket(7)): that fails where anybody listens, and lets our own server bind
    beside it. Whoever else binds with SO_REUSEADDR may still be quicker; then the server's exclusive bind fails.
    A dying predecessor has ``within_s`` to let go: the kernel closes its files one by one, the role's lock first.

    Raises:
        Held: somebody listens at one of the addresses, or none is this machine's, or the name cannot be looked up.
    """
    until_s = time.monotonic() + within_s
    while True:
        try:
            return bound(endpoint.address, endpoint.port)
        except OSError as error:
            if time.monotonic() >= until_s:
                raise Held(
                    f"cannot listen on {endpoint.target}: {error.strerror or error}; end whoever has the port "
                    "('snsctl doctor' names it), or change the address or the port in the spec"
                ) from None
        time.sleep(_RETRY_S)


def bound(address: str, port: int) -> Reservation:
    """Bind every address of a name that this machine has: one that was left out would be free for a stranger.

    Raises:
        OSError: one of them is taken, or there is none.
    """
    # As bytes: for a str, Python loads its tables of international names first, which takes 2 ms.
    name = address.encode() if address.isascii() else address
    infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    absent = OSError("the address cannot be looked up")
    sockets: list[socket.socket] = []
    try:
        for family, kind, proto, sockaddr in dict.fromkeys((f, k, p, sockaddr) for f, k, p, _, sockaddr in infos):
            try:
                sockets.append(_bound(family, kind, proto, sockaddr))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if not sockets:
            raise absent
    except OSError:
        Reservation(sockets).close()
        raise
    return Reservation(sockets)


def _bound(family: int, kind: int, proto: int, sockaddr: Any) -> socket.socket:
    reserved = socket.socket(family, kind, proto)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(sockaddr)
    except OSError:
        reserved.close()
        raise
    return reserved
