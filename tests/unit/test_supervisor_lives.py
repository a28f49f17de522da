"""What one life of a supervisord leaves to the next: nothing that is open."""

import socket
from types import SimpleNamespace

from supervisor.medusa import asyncore_25 as asyncore

from snsnode.supervisord import lives


def test_connections_of_clients_end_with_the_life() -> None:
    """supervisord forgets them, and would read whatever gets their numbers next."""
    ours, theirs = socket.socketpair()
    channel = asyncore.dispatcher(ours)
    try:
        options = SimpleNamespace(get_socket_map=lambda: {ours.fileno(): channel})
        lives._close_all(SimpleNamespace(process_groups={}, options=options))
        theirs.settimeout(5)
        assert theirs.recv(1) == b""
        assert channel not in asyncore.socket_map.values()
    finally:
        theirs.close()
        channel.del_channel()
        ours.close()
