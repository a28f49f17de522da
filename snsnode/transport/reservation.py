"""A TCP port, taken before its server is ready: bound, and not listening, so that clients are refused at once.

Called by a master, which must not spend an epoch on a port that is somebody else's, and must not let clients wait
in the backlog of a server that does not serve yet.
"""

import socket
import time

from snsnode.base.errors import Held
from snsnode.node.config import Endpoint

_RETRY_S = 0.005


def reserve(endpoint: Endpoint, within_s: float = 0.0) -> socket.socket:
    """Bind the endpoint and return the socket; close it once the server itself has bound.

    With SO_REUSEADDR, as gRPC binds (socket(7)): that fails where anybody listens, and lets our own server bind
    beside it. Whoever else binds with SO_REUSEADDR may still be quicker; then the server's exclusive bind fails.
    A dying predecessor has ``within_s`` to let go: the kernel closes its files one by one, the role's lock first.

    Raises:
        Held: somebody listens there, or the address is none of this machine's, or cannot be looked up.
    """
    until_s = time.monotonic() + within_s
    while True:
        try:
            return _bound(endpoint)
        except OSError as error:
            if time.monotonic() >= until_s:
                raise Held(
                    f"cannot listen on {endpoint.target}: {error.strerror or error}; end whoever has the port "
                    "('snsctl doctor' names it), or change the address or the port in the spec"
                ) from None
        time.sleep(_RETRY_S)


def _bound(endpoint: Endpoint) -> socket.socket:
    """Bind the first of the endpoint's addresses that can be bound."""
    refused = OSError("the address cannot be looked up")
    # As bytes: for a str, Python loads its tables of international names first, which takes 2 ms.
    address = endpoint.address.encode() if endpoint.address.isascii() else endpoint.address
    infos = socket.getaddrinfo(address, endpoint.port, type=socket.SOCK_STREAM)
    for family, kind, proto, _, sockaddr in infos:
        reserved = socket.socket(family, kind, proto)
        try:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(sockaddr)
        except OSError as error:
            reserved.close()
            refused = error
        else:
            return reserved
    raise refused
