"""What a program passes to a client by mistake is said in words, never by a bare TypeError."""

from typing import Any

import pytest

from snsnode.base.errors import InvalidInput
from snsnode.client import Client, SyncClient
from snsnode.client.arguments import DEADLINE_MAX_S, deadline_of, name_of, routers_of, text_of
from snsnode.client.wording import brief

GOOD = ["127.0.0.1:3010"]


@pytest.mark.parametrize(
    ("routers", "said"),
    [
        (None, "cannot use None as routers"),
        ("127.0.0.1:3010", "cannot use '127.0.0.1:3010' as routers"),
        (b"127.0.0.1:3010", "as routers"),
        (3010, "cannot use 3010 as routers"),
        ([], "cannot use [] as routers"),
        ([3010], "cannot use 3010 as a router"),
        ([b"127.0.0.1:3010"], "cannot use b'127.0.0.1:3010' as a router"),
        ([("127.0.0.1", 3010)], "as a router: write 'host:port'"),
        (["127.0.0.1"], "cannot use '127.0.0.1' as a router"),
        (["127.0.0.1:0"], "as a router"),
        (["127.0.0.1:65536"], "as a router"),
    ],
)
def test_routers_that_are_none_are_named(routers: Any, said: str) -> None:
    for kind in (Client, SyncClient):
        with pytest.raises(InvalidInput) as caught:
            kind(routers, "alice")
        assert said in caught.value.message


def test_router_named_twice_is_asked_once() -> None:
    assert routers_of(["a:1", "b:2", "a:1"]) == ("a:1", "b:2")
    assert routers_of(("[::1]:3010",)) == ("[::1]:3010",)


@pytest.mark.parametrize("value", [None, 5, b"alice", ["alice"]])
def test_name_or_text_of_another_type_is_refused_with_its_type(value: Any) -> None:
    for check in (name_of, text_of):
        with pytest.raises(InvalidInput, match=f"of type {type(value).__name__}; pass a str"):
            check(value)


@pytest.mark.parametrize("value", [None, "30", 0, -1, float("nan"), float("inf"), DEADLINE_MAX_S + 1, [1]])
def test_deadline_that_is_none_is_named(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"cannot take deadline_s=.*: write seconds above 0"):
        Client(GOOD, "alice", deadline_s=value)


def test_deadline_may_be_whole_or_broken() -> None:
    assert (deadline_of(30), deadline_of(0.5), deadline_of(DEADLINE_MAX_S)) == (30.0, 0.5, DEADLINE_MAX_S)


def test_callback_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot take on_event='print'"):
        Client(GOOD, "alice", on_event="print")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "errors resolving nohost:3010: [field:hostname lookup error:address lookup failed for nohost:3010: "
            "Domain name not found]",
            "cannot find the host 'nohost': correct its name, or write its IP address",
        ),
        (
            "DNS resolution failed for no.host:3010: C-ares status is not ARES_SUCCESS: Domain name not found",
            "cannot find the host 'no.host': correct its name, or write its IP address",
        ),
        ("failed to connect to all addresses; last error: UNKNOWN: ipv4:1.2.3.4:5: Refused", "Refused"),
        ("cannot name a server: none is registered", "cannot name a server: none is registered"),
    ],
)
def test_what_grpc_says_of_a_connection_is_said_in_words(said: str, words: str) -> None:
    assert brief(said) == words
