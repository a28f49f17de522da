"""What routers take from each other, event by event."""

from dataclasses import replace

import pytest

from snsnode.base.ids import Epoch, VmName
from snsnode.router.flapping import HOLD_FIRST_S, NEVER_S
from snsnode.router.merge import News, merge
from snsnode.router.table import CLAIM_LEAP, RECALL_S, SERVERS_MAX, Server, Table, crash, expire, register, suspect
from snsnode.router.wire import info_of, told_of
from snsnode.rpc import router_pb2
from tests.table_rig import news_of

LEASE_S = 9.0
A, B = VmName("vm2"), VmName("vm3")


def registered(*servers: Server, now_s: float = 0.0) -> Table:
    table = Table()
    for server in servers:
        table, verdict = register(table, server, LEASE_S, now_s)
        assert verdict.accepted
    return table


def server(vm: VmName = A, epoch: int = 1, claim: int = 0) -> Server:
    return Server(vm, "127.0.0.1", 3020, Epoch(epoch), claim=claim)


def news(vm: VmName = A, epoch: int = 1, down: bool = False, claim: int = 0, heard_s: float = 0.0) -> News:
    return News(vm, Epoch(epoch), down, claim, heard_s, leaving=False, clients=0, address="127.0.0.1", port=3020)


def test_only_what_it_heard_itself_is_told_with_an_age() -> None:
    table = merge(registered(server(A), now_s=5.0), [news(B, heard_s=4.0)], LEASE_S, 5.0)
    assert {piece.vm: piece.heard_s for piece in news_of(table)} == {A: 5.0, B: NEVER_S}


@pytest.mark.parametrize("delay_s", [0.0, 0.4, 0.9])
def test_news_that_are_sent_to_and_fro_keep_no_dead_server_alive(delay_s: float) -> None:
    """Each of two routers takes the other's news as later by the delay of the message."""
    one, other = registered(server()), Table()
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


def test_one_that_is_new_here_has_time_to_register() -> None:
    """Its lease with the other router may be about to run out, for reasons of that router's own."""
    table = merge(Table(looked_s=100.0), [news(heard_s=100.0 - LEASE_S), news(B, heard_s=100.0)], LEASE_S, 100.0)
    assert table.servers[A].lease_until_s == 100.0 + RECALL_S


def test_a_suspicion_ends_with_news_that_are_later_than_it() -> None:
    table = suspect(registered(server(A), server(B)), A, Epoch(1), 5.0)
    assert merge(table, [news(heard_s=4.9)], LEASE_S, 6.0).servers[A].suspect
    assert not merge(table, [news(heard_s=5.1)], LEASE_S, 6.0).servers[A].suspect


def test_the_dead_of_another_router_are_dead_here_and_another_is_chosen() -> None:
    table = merge(registered(server(A), server(B)), [news(A, down=True)], LEASE_S, 1.0)
    assert (table.servers[A].down, table.available) == (True, B)
    refused = register(table, server(A), LEASE_S, 2.0)[1]
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
    table = register(crash(table, B, Epoch(1), 1.0)[0], server(B, epoch=2), LEASE_S, 1.0)[0]
    assert table.servers[B].held_s > 1.0
    table = merge(table, [news(B, epoch=2, claim=table.claim + 1, heard_s=1.0)], LEASE_S, 1.0)
    assert table.available == B


def test_a_full_table_takes_no_more_names() -> None:
    table = merge(Table(), [news(VmName(f"a{number}")) for number in range(SERVERS_MAX + 5)], LEASE_S, 1.0)
    assert len(table.servers) == SERVERS_MAX


def test_older_news_of_one_whose_crash_was_reported_first_do_not_bring_it_back() -> None:
    began, _ = crash(Table(), A, Epoch(4), 1.0, ("127.0.0.1", 3020))
    assert merge(began, [news(A, epoch=4, heard_s=0.9)], LEASE_S, 1.1).servers[A].down
    assert not merge(began, [news(A, epoch=5, heard_s=1.1)], LEASE_S, 1.2).servers[A].down


def test_over_the_wire_a_table_tells_just_that() -> None:
    table = merge(registered(server(A), now_s=5.0), [news(B, heard_s=4.0, claim=7)], LEASE_S, 5.0)
    table = crash(table, VmName("vm9"), Epoch(3), 5.5, ("127.0.0.1", 3090))[0]
    reply = router_pb2.TableReply(servers=[info_of(table, each, 6.25) for each in table.servers.values()])
    assert told_of(reply, 6.25) == list(news_of(table))
