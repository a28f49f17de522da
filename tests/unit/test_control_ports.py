"""Looking whether a port is free disturbs nobody, and is disturbed by listeners only."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor

from snsnode.control.ports import is_free, listener
from tests.ports import free_port

LOOKS = 300
LOOKERS = 4


def test_looks_at_one_port_do_not_take_each_other_for_a_holder() -> None:
    """As when a process that is just being forked holds a copy of what another thread looks with."""
    port = free_port()
    with ThreadPoolExecutor(LOOKERS) as pool:
        answers = list(pool.map(lambda _: is_free("127.0.0.1", port), range(LOOKS * LOOKERS)))
    assert all(answers)


def test_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        assert not is_free("127.0.0.1", listener.getsockname()[1])


def test_listener_on_another_address_of_the_machine_is_another() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.2", port)):
        assert (listener("127.0.0.1", port), listener("127.0.0.2", port)) == (None, os.getpid())
        assert is_free("127.0.0.1", port) and not is_free("127.0.0.2", port)


def test_listener_on_all_addresses_is_found_at_each() -> None:
    with socket.create_server(("", 0)) as everywhere:
        assert listener("127.0.0.3", everywhere.getsockname()[1]) == os.getpid()
    with socket.socket(socket.AF_INET6) as mapped:  # as gRPC listens
        mapped.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        mapped.bind(("::ffff:127.0.0.1", 0))
        mapped.listen()
        assert listener("127.0.0.1", mapped.getsockname()[1]) == os.getpid()
