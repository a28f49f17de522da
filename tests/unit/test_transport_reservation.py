"""A reserved port: nobody's else, refusing, and free for our own server."""

import socket
import threading
from typing import Any

import pytest

from snsnode.base.errors import Held
from snsnode.base.ids import VmName
from snsnode.control.ports import is_free
from snsnode.node.config import Endpoint
from snsnode.transport.reservation import reserve
from snsnode.transport.servers import bind, make_threaded_server
from tests.ports import free_port


def here(port: int, address: str = "127.0.0.1") -> Endpoint:
    return Endpoint(VmName("vm2"), address, port)


def test_a_port_that_somebody_listens_on_is_refused() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(Held, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"),
    ):
        reserve(here(port))


def test_a_reserved_port_refuses_clients_and_plain_binds_and_takes_our_server() -> None:
    port = free_port()
    with reserve(here(port)):
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            pass
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        server = make_threaded_server(1)
        bind(server, f"127.0.0.1:{port}")
        server.start()
    with socket.create_connection(("127.0.0.1", port), 1):
        pass
    server.stop(None).wait(5)


@pytest.mark.parametrize(
    ("address", "cause"), [("192.0.2.1", "Cannot assign requested address"), ("no.such.host.invalid", "")]
)
def test_an_address_that_is_not_ours_is_refused(address: str, cause: str) -> None:
    with pytest.raises(Held, match=f"cannot listen on {address}:.*{cause}"):
        reserve(here(free_port(), address))


def test_a_port_that_is_let_go_in_time_is_taken() -> None:
    port = free_port()
    holder = socket.create_server(("127.0.0.1", port))
    letting_go = threading.Timer(0.1, holder.close)
    letting_go.start()
    with reserve(here(port), within_s=10):
        letting_go.join()


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name of two addresses, as "localhost" often is; not every machine has one."""
    look_up = socket.getaddrinfo

    def both(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        names = ("127.0.0.1", "127.0.0.2") if host in ("two.addresses", b"two.addresses") else (host,)
        return [info for name in names for info in look_up(name, port, *more, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    return "two.addresses"


@pytest.mark.parametrize("taken", ["127.0.0.1", "127.0.0.2"])
def test_a_name_is_refused_where_one_of_its_addresses_is_taken(two_addresses: str, taken: str) -> None:
    port = free_port()
    with socket.create_server((taken, port)):
        with pytest.raises(Held, match=f"cannot listen on {two_addresses}:{port}"):
            reserve(here(port, two_addresses))
        assert not is_free(two_addresses, port)
    assert is_free(two_addresses, port)


def test_a_name_is_served_at_all_of_its_addresses(two_addresses: str) -> None:
    port = free_port()
    server = make_threaded_server(1)
    with reserve(here(port, two_addresses)) as reserved:
        for target in reserved.targets:
            bind(server, target)
    server.start()
    for address in ("127.0.0.1", "127.0.0.2"):
        with socket.create_connection((address, port), 1):
            pass
    server.stop(None).wait(5)


def test_a_name_is_not_looked_up_where_a_server_binds(two_addresses: str) -> None:
    """That is on the event loop, and a resolver may be silent."""
    with pytest.raises(ValueError, match=two_addresses):
        bind(make_threaded_server(1), f"{two_addresses}:{free_port()}")
