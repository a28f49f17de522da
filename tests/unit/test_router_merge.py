"""What routers take from each other, event by event."""

from dataclasses import replace
from typing import Any

import pytest

from snsnode.base.ids import Epoch, VmName
from snsnode.router.flapping import HOLD_FIRST_S, NEVER_S
from snsnode.router.merge import News, merge, unsure
from snsnode.router.table import CLAIM_LEAP, EPOCH_LEAP, RECALL_S, Server, Table, crash, expire, register, suspect
from snsnode.router.wire import info_of, told_of
from snsnode.rpc import router_pb2
from tests.table_rig import news_of
from tests.table_rig import table as new_table

LEASE_S = 9.0
A, B = VmName("vm2"), VmName("vm3")


def registered(*servers: Server, now_s: float = 0.0) -> Table:
    table = new_table()
    for server in servers:
        table, verdict = register(table, server, LEASE_S, now_s, confirmed=True)
        assert verdict.accepted
    return table


def server(vm: VmName = A, epoch: int = 1, claim: int = 0) -> Server:
    return Server(vm, "127.0.0.1", 3020, Epoch(epoch), claim=claim)


def news(vm: VmName = A, epoch: int = 1, down: bool = False, claim: int = 0, heard_s: float = 0.0) -> News:
    return News(vm, Epoch(epoch), down, claim, heard_s, leaving=False, clients=0, address="127.0.0.1", port=3020)


def test_only_what_it_heard_itself_is_told_with_an_age() -> None:
    table = registered(server(B), now_s=1.0)
    table = register(table, server(A), LEASE_S, 5.0, confirmed=True)[0]
    table = merge(table, [news(B, epoch=2, heard_s=4.0)], LEASE_S, 5.0)
    assert {piece.vm: piece.heard_s for piece in news_of(table)} == {A: 5.0, B: NEVER_S}


@pytest.mark.parametrize("delay_s", [0.0, 0.4, 0.9])
def test_news_that_are_sent_to_and_fro_keep_no_dead_server_alive(delay_s: float) -> None:
    """Each of two routers takes the other's news as later by the delay of the message."""
    one, other = registered(server()), registered(server(epoch=0))
    now_s = 0.0
    while now_s < LEASE_S + 2 * (1.0 + delay_s) + RECALL_S:
        told = [
            [replace(piece, heard_s=piece.heard_s + delay_s) for piece in news_of(table)] for table in (one, other)
        ]
        for _ in range(10):
            now_s += 0.1
            one, other = expire(one, now_s), expire(other, now_s)
        one, other = merge(one, told[1], LEASE_S, now_s), merge(other, told[0], LEASE_S, now_s)
    assert one.servers[A].suspect and other.servers[A].suspect


def test_a_new_incarnation_that_another_router_knows_has_time_to_register_here() -> None:
    began = replace(registered(server(A), server(B), now_s=100.0), looked_s=100.0)
    table = merge(began, [news(epoch=2, heard_s=100.0 - LEASE_S)], LEASE_S, 109.5)
    assert table.servers[A].lease_until_s == 109.5 + RECALL_S


@pytest.mark.parametrize("down", [False, True])
def test_one_that_is_not_known_here_is_not_taken_from_another_router_but_asked(down: bool) -> None:
    table = registered(server(B))
    told = [news(A, epoch=2**61, down=down)]
    assert merge(table, told, LEASE_S, 1.0) is table
    assert unsure(table, told) == ([] if down else [A])


@pytest.mark.parametrize("down", [False, True])
def test_an_epoch_that_leaps_is_not_taken_from_another_router_but_asked(down: bool) -> None:
    table = registered(server(A, epoch=5))
    leaps = [news(A, epoch=5 + EPOCH_LEAP + 1, down=down)]
    assert merge(table, leaps, LEASE_S, 1.0) is table
    assert unsure(table, leaps) == ([] if down else [A])
    steps = [news(A, epoch=5 + EPOCH_LEAP, down=down)]
    assert merge(table, steps, LEASE_S, 1.0).servers[A].epoch == 5 + EPOCH_LEAP
    assert unsure(table, steps) == []


@pytest.mark.parametrize("wrong", [{"vm": VmName("vm99")}, {"address": "192.0.2.7"}, {"port": 3021}])
def test_what_the_spec_lacks_is_taken_from_no_router(wrong: dict[str, Any]) -> None:
    table = registered(server(A))
    told = [replace(news(A, epoch=2, claim=5), **wrong)]
    assert merge(table, told, LEASE_S, 1.0) is table
    assert unsure(table, told) == []


def test_a_suspicion_ends_with_news_that_are_later_than_it() -> None:
    table = suspect(registered(server(A), server(B)), A, Epoch(1), 5.0)
    assert merge(table, [news(heard_s=4.9)], LEASE_S, 6.0).servers[A].suspect
    assert not merge(table, [news(heard_s=5.1)], LEASE_S, 6.0).servers[A].suspect


def test_the_dead_of_another_router_are_dead_here_and_another_is_chosen() -> None:
    table = merge(registered(server(A), server(B)), [news(A, down=True)], LEASE_S, 1.0)
    assert (table.servers[A].down, table.available) == (True, B)
    refused = register(table, server(A), LEASE_S, 2.0, confirmed=True)[1]
    assert not refused.accepted


def test_the_crash_that_two_routers_hear_of_counts_once() -> None:
    table = registered(server(A), server(B))
    table = merge(crash(table, A, Epoch(1), 1.0)[0], [news(A, down=True)], LEASE_S, 1.1)
    assert table.servers[A].crashes == 1
    table = merge(table, [news(A, epoch=2, heard_s=1.2)], LEASE_S, 1.2)
    assert table.servers[A].held_s == 1.2 + HOLD_FIRST_S


def test_the_choice_of_another_router_is_followed_and_costs_no_claim() -> None:
    """Both heard of the crash; the other one chose first."""
    table = registered(server(A, claim=1), server(B))
    table = merge(table, [news(A, down=True, claim=1), news(B, claim=2)], LEASE_S, 1.0)
    assert (table.available, table.claim) == (B, 2)


def test_two_choices_with_one_claim_become_one() -> None:
    one = registered(server(A, claim=2), server(B))
    other = registered(server(B, claim=2), server(A))
    merged = [merge(one, news_of(other), LEASE_S, 1.0), merge(other, news_of(one), LEASE_S, 1.0)]
    assert [(table.available, table.claim) for table in merged] == [(A, 2), (A, 2)]


def test_a_claim_beyond_belief_is_none_from_a_router_either() -> None:
    table = merge(registered(server(A), server(B)), [news(B, claim=CLAIM_LEAP + 2)], LEASE_S, 1.0)
    assert (table.available, table.servers[B].claim) == (A, 0)


def test_a_claim_above_all_others_ends_a_hold_down() -> None:
    table = registered(server(A), server(B))
    table = register(crash(table, B, Epoch(1), 1.0)[0], server(B, epoch=2), LEASE_S, 1.0, confirmed=True)[0]
    assert table.servers[B].held_s > 1.0
    table = merge(table, [news(B, epoch=2, claim=table.claim + 1, heard_s=1.0)], LEASE_S, 1.0)
    assert table.available == B


def test_over_the_wire_a_table_tells_just_that() -> None:
    table = registered(server(A), server(B), now_s=5.0)
    table = merge(table, [news(B, epoch=2, heard_s=4.0, claim=7)], LEASE_S, 5.0)
    table = crash(table, B, Epoch(1), 5.5)[0]
    reply = router_pb2.TableReply(servers=[info_of(table, each, 6.25) for each in table.servers.values()])
    assert told_of(reply, 6.25) == list(news_of(table))
