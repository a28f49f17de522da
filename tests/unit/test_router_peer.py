"""Who called a router, as gRPC names it."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from snsnode.router import peer as peers
from snsnode.router.peer import Machines
from tests.eventually import eventually_async


@pytest.mark.parametrize(
    ("peer", "address", "same"),
    [
        ("ipv4:127.0.0.1:50123", "127.0.0.1", True),
        ("ipv4:127.0.0.1:50123", "127.0.0.2", True),
        ("ipv4:127.0.0.1:50123", "localhost", True),
        ("ipv6:%5B::1%5D:50123", "127.0.0.1", True),
        ("ipv6:[::1]:50123", "::1", True),
        ("ipv6:%5B::ffff:10.0.0.2%5D:50123", "10.0.0.2", True),
        ("ipv6:%5B2001:db8::2%5D:50123", "2001:db8:0::2", True),
        ("ipv4:10.0.0.2:50123", "10.0.0.2", True),
        ("ipv4:10.0.0.2:50123", "10.0.0.3", False),
        ("ipv4:127.0.0.1:50123", "10.0.0.3", False),
        ("unix:/tmp/socket", "127.0.0.1", False),
        ("", "", False),
    ],
)
async def test_a_caller_is_known_by_its_address(peer: str, address: str, same: bool) -> None:
    assert await Machines().is_from(peer, address) is same


async def test_a_machine_calls_from_any_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_is_here", {"10.0.0.2", "10.0.0.3", peers.HERE}.__contains__)
    for peer in ("ipv4:10.0.0.2:50123", "ipv4:127.0.0.1:50123"):
        assert await Machines().is_from(peer, "10.0.0.3")
        assert not await Machines().is_from(peer, "10.0.0.4")
    assert not await Machines().is_from("ipv4:10.0.0.4:50123", "10.0.0.3")


def test_this_machine_knows_its_own_addresses() -> None:
    assert peers._is_here(peers.HERE)
    assert not peers._is_here("192.0.2.7") and not peers._is_here("2001:db8::7")


class Resolver:
    """Stands for getaddrinfo, for no test may ask a real resolver."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names
        self.asked: list[str] = []

    def __call__(self, name: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(name)
        if name not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.names[name]]


async def test_a_caller_is_known_by_the_name_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(vm2=["10.0.0.2", "10.1.0.2"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    machines = Machines()
    assert await machines.is_from("ipv4:10.1.0.2:50123", "vm2")
    assert not await machines.is_from("ipv4:10.0.0.3:50123", "vm2")
    assert not await machines.is_from("ipv4:10.0.0.3:50123", "vm3")
    assert resolver.asked == ["vm2", "vm3"]  # and what was said is kept for a while


async def test_many_names_take_a_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that is silent holds a thread for each name that waits for it: not one for each name."""
    monkeypatch.setattr(peers, "LOOKUP_S", 0.05)
    may_answer = threading.Event()
    names = {f"vm{number}.example": [f"10.0.0.{number}"] for number in range(1, 60)}
    resolver = Resolver(**names)

    def slow(name: str, *more: Any, **named: Any) -> list[Any]:
        may_answer.wait(10)
        return resolver(name, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    machines = Machines()
    assert not any(await asyncio.gather(*(machines.is_from("ipv4:10.0.0.2:50123", name) for name in names)))
    assert sum(thread.name == "look-up" for thread in threading.enumerate()) == peers.LOOKUPS_AT_ONCE
    may_answer.set()
    await eventually_async(lambda: _all_asked(resolver, names), within_s=10)
    assert await machines.is_from("ipv4:10.0.0.7:50123", "vm7.example")


async def _all_asked(resolver: "Resolver", names: dict[str, list[str]]) -> bool:
    return len(resolver.asked) == len(names)


async def test_many_callers_make_one_lookup_and_a_slow_one_holds_up_nobody_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "LOOKUP_S", 0.05)
    may_answer = threading.Event()
    resolver = Resolver(vm2=["10.0.0.2"])

    def slow(name: str, *more: Any, **named: Any) -> list[Any]:
        may_answer.wait(10)
        return resolver(name, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    machines = Machines()
    asked = [machines.is_from("ipv4:10.0.0.2:50123", "vm2") for _ in range(20)]
    assert not any(await asyncio.gather(*asked))
    may_answer.set()

    async def is_known() -> bool:
        return await machines.is_from("ipv4:10.0.0.2:50123", "vm2")

    await eventually_async(is_known, within_s=10)
    assert resolver.asked == ["vm2"]


async def test_names_that_wait_are_answered_where_no_more_threads_are_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def silent(*_: Any, **__: Any) -> list[Any]:
        release.wait(10)
        return []

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(peers, "LOOKUP_S", 0.0)
    machines = Machines()
    for number in range(3 * peers.LOOKUPS_AT_ONCE):
        assert not await machines.is_from("ipv4:10.0.0.2:50123", f"host{number}")
    monkeypatch.setattr(threading, "Thread", NoThread)
    release.set()
    await eventually_async(lambda: not machines._lookups, within_s=10)
