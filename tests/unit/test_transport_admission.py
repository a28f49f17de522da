"""Calls are bounded by share and by address, and no share takes another's room."""

from collections.abc import Callable
from functools import partial

import pytest

from snsnode.base.errors import Full
from snsnode.transport.admission import LOGIN, Admission, Admitted, Bound, Bounds, address_of
from snsnode.transport.servers import connections_max

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
POST, REGISTER = "/sns.v1.SNSService/Post", "/sns.v1.Router/RegisterServer"
SMALL = Bounds(
    cluster=Bound(2, 2, 10.0), inside=Bound(4, 3, 10.0), watch=Bound(2, 1, float("inf")), outside=Bound(4, 2, 10.0)
)


def nothing() -> None:
    """End nothing."""


def entered(admission: Admission, method: str, peer: str, end: Callable[[], object] = nothing) -> Admitted:
    admitted = admission.enter(method, peer, 0.0, end, lasts=method == WATCH)
    admission.heard(admitted)
    return admitted


def fill(admission: Admission, method: str, peer: str) -> list[Admitted]:
    taken: list[Admitted] = []
    with pytest.raises(Full):
        while len(taken) < 100:
            taken.append(entered(admission, method, peer))
    return taken


def test_strangers_who_fill_their_shares_keep_nobody_else_out() -> None:
    admission, loopback = Admission(SMALL), "ipv4:127.0.0.1:50000"
    admission.logged_in("ipv4:127.0.0.1:40000")
    assert len(fill(admission, WATCH, loopback)) == 2
    assert len(fill(admission, POST, loopback)) == 4
    assert len(fill(admission, REGISTER, loopback)) == 2
    entered(admission, POST, "ipv4:127.0.0.1:40000")  # it is logged in
    with pytest.raises(Full):
        entered(admission, LOGIN, loopback)


def test_room_is_given_back_for_each_call_that_is_over() -> None:
    admission = Admission(SMALL)
    for _ in range(3):
        for admitted in fill(admission, CHECK, "ipv4:192.0.2.1:1"):
            admission.leave(admitted)


def test_one_address_takes_no_more_than_its_part_and_another_is_served() -> None:
    admission = Admission(SMALL)
    assert len(fill(admission, CHECK, "ipv4:192.0.2.1:1")) == 2
    with pytest.raises(Full, match="of your address"):
        entered(admission, CHECK, "ipv4:192.0.2.1:2")  # another connection of it
    entered(admission, CHECK, "ipv4:192.0.2.2:1")


def test_calls_that_nobody_waits_for_any_more_make_room_and_streams_do_not() -> None:
    admission = Admission(SMALL)
    ended: list[int] = []
    for number in range(4):
        entered(admission, CHECK, f"ipv4:192.0.2.{number}:1", partial(ended.append, number))
    entered(admission, WATCH, "ipv4:192.0.2.1:1")
    entered(admission, WATCH, "ipv4:192.0.2.2:1")
    with pytest.raises(Full):
        admission.enter(CHECK, "ipv4:192.0.2.9:1", 9.9, nothing)
    assert not ended
    admission.enter(CHECK, "ipv4:192.0.2.9:1", 10.1, nothing)
    assert ended == [0, 1, 2, 3]
    with pytest.raises(Full):
        admission.enter(WATCH, "ipv4:192.0.2.9:1", 1e9, nothing)


@pytest.mark.parametrize("lasts", [False, True])
def test_calls_whose_message_does_not_come_make_room_for_others(lasts: bool) -> None:
    admission = Admission(SMALL)
    ended: list[int] = []
    half_sent = [
        admission.enter(CHECK, f"ipv4:192.0.2.{number}:1", 0.0, partial(ended.append, number), lasts=lasts)
        for number in range(3)
    ]
    whole = admission.enter(CHECK, "ipv4:192.0.2.7:1", 0.0, lambda: ended.append(7), lasts=lasts)
    admission.heard(whole)
    with pytest.raises(Full):
        admission.enter(CHECK, "ipv4:192.0.2.9:1", 0.4, nothing)
    admission.enter(CHECK, "ipv4:192.0.2.9:1", 0.6, nothing)
    assert ended == [0, 1, 2]
    for admitted in half_sent:  # their tasks end a moment later, and count no more
        admission.leave(admitted)
    admission.enter(CHECK, "ipv4:192.0.2.10:1", 0.6, nothing)
    admission.enter(CHECK, "ipv4:192.0.2.11:1", 0.6, nothing)
    with pytest.raises(Full):
        admission.enter(CHECK, "ipv4:192.0.2.12:1", 0.7, nothing)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:123", "192.0.2.7"),
        ("ipv4:127.0.0.1:123", None),
        ("ipv6:%5B::1%5D:123", None),
        ("ipv6:[::ffff:127.0.0.1]:123", None),
        ("ipv6:%5B::ffff:192.0.2.7%5D:123", "192.0.2.7"),
        ("ipv6:[2001:db8:0:1:2:3:4:5]:9", "2001:db8:0:1::/64"),
        ("ipv6:[fe80::1%25eth0]:9", "fe80::/64"),
        ("unix:", None),
        ("unix:run/master.sock", None),
    ],
)
def test_addresses_are_told_from_what_grpc_calls_a_peer(peer: str, address: str | None) -> None:
    assert address_of(peer) == address


@pytest.mark.parametrize(
    ("limit", "connections"), [(2048, 1536), (1024, 512), (256, 128), (20_000, 15_000), (1_048_576, 16_384)]
)
def test_connections_leave_descriptors_for_what_a_role_needs_besides(
    limit: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, limit))
    assert connections_max() == connections
