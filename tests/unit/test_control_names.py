"""Names are looked up all at once, each once, and a silent name service is given up soon."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from snsnode.control import local, names
from tests.eventually import eventually

BOUND_S = 20.0  # three looks one after the other, each at a silent service, would take longer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each name was asked for; names in ".silent" are answered at the end of the test."""
    look_up, over, count = socket.getaddrinfo, threading.Event(), Counter[str]()

    def answered(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        count[host] += 1
        if host.endswith(".silent"):
            over.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return look_up("127.0.0.1" if host == "here" else host, port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answered)
    monkeypatch.setattr(names, "_known", {})
    yield count
    over.set()


def test_silent_name_service_is_given_up_for_all_names_together(asked: Counter[str]) -> None:
    silent = [f"far{number}.silent" for number in range(20)]
    began_s = time.monotonic()
    names.prepare(silent)
    for _ in range(3):
        assert not any(map(local.is_local, silent))
    assert time.monotonic() - began_s < BOUND_S
    assert asked == Counter(silent)
    # It may be this very machine's: nothing that runs here is ended for it.
    assert not any(map(local.is_elsewhere, silent))


def test_numbers_and_known_names_do_not_wait_for_the_silent(asked: Counter[str]) -> None:
    names.prepare(["far.silent", "here", "127.0.0.1", "192.0.2.1"])
    assert names.is_answered("127.0.0.1") and names.is_answered("192.0.2.1")
    eventually(lambda: names.is_answered("here"), 10)
    assert local.is_local("here") and local.is_local("127.0.0.1")
    assert local.is_elsewhere("192.0.2.1") and not local.is_local("192.0.2.1")
    assert not names.is_answered("far.silent")


def test_name_without_an_address_is_no_machine(asked: Counter[str]) -> None:
    for name in ("no.such.host.invalid", "a" * 70 + ".example"):
        assert not local.is_local(name)
        assert not local.is_elsewhere(name)


def test_without_a_thread_to_be_had_names_are_looked_up_all_the_same(
    asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(names, "_threads", [])
    monkeypatch.setattr(threading.Thread, "start", refused)
    assert local.is_local("here")
    assert asked == {"here": 1}
