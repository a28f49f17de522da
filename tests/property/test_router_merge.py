"""What routers tell each other: in any order, late, twice, they come to know the same."""

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from snsnode.base.ids import Epoch, VmName
from snsnode.router.flapping import NEVER_S
from snsnode.router.merge import News, join, merge
from snsnode.router.table import Table, expire
from tests.property.test_router_table import (
    LEASE_S,
    Happened,
    Register,
    comparable,
    happen,
    histories,
    successors,
)
from tests.table_rig import news_of
from tests.table_rig import table as new_table

VMS = [VmName("vm2"), VmName("vm3"), VmName("vm4")]


def news(vms: st.SearchStrategy[VmName]) -> st.SearchStrategy[News]:
    return st.builds(
        News,
        vm=vms,
        epoch=st.integers(0, 4).map(Epoch),
        down=st.booleans(),
        claim=st.integers(0, 5),
        heard_s=st.one_of(st.just(NEVER_S), st.floats(0.0, 20.0)),
        leaving=st.booleans(),
        clients=st.integers(0, 3),
        address=st.sampled_from(["127.0.0.1", "::ffff:127.0.0.1"]),
        port=st.just(3020),
    )


one_server = news(st.just(VMS[0]))
told = st.lists(news(st.sampled_from(VMS)), max_size=8)


@settings(deadline=None)
@given(one_server, one_server, one_server)
def test_joining_is_commutative_associative_and_idempotent(a: News, b: News, c: News) -> None:
    assert join(a, b) == join(b, a)
    assert join(a, join(b, c)) == join(join(a, b), c)
    assert join(a, a) == a
    assert join(a, join(a, b)) == join(a, b)


@settings(deadline=None)
@given(one_server, one_server)
def test_what_was_joined_says_all_that_either_said(a: News, b: News) -> None:
    both = join(a, b)
    assert both.epoch == max(a.epoch, b.epoch)
    for part in (a, b):
        if part.epoch == both.epoch:
            assert both.down >= part.down and both.claim >= part.claim and both.heard_s >= part.heard_s


def known(table: Table) -> dict[VmName, News]:
    """Return what a table knows of the servers, without what is its own."""
    return {
        vm: News(
            vm,
            s.epoch,
            s.down,
            s.claim,
            s.news_s,
            leaving=s.leaving,
            clients=s.clients,
            address=s.address,
            port=s.port,
        )
        for vm, s in table.servers.items()
    }


def beginning() -> Table:
    """Return the table of a router that just began: it grants no claims, so that merging is all there is."""
    return new_table(started_s=0.0)


@settings(deadline=None)
@given(histories, told, told)
def test_merging_is_commutative_and_idempotent(
    history: list[tuple[Happened, float]], one: list[News], other: list[News]
) -> None:
    table, now_s = beginning(), 0.0
    for what, gap_s in history:
        now_s += gap_s
        table = happen(replace(table, started_s=now_s), what, now_s)
    both = merge(merge(table, one, LEASE_S, now_s), other, LEASE_S, now_s)
    reverse = merge(merge(table, other, LEASE_S, now_s), one, LEASE_S, now_s)
    assert known(both) == known(reverse)
    at_once = merge(table, [*one, *other], LEASE_S, now_s)
    assert known(at_once) == known(both)
    again = merge(both, one, LEASE_S, now_s)
    assert again == both


@settings(deadline=None)
@given(histories, told, st.booleans())
def test_merging_drops_nobody_and_lets_nothing_fall(
    history: list[tuple[Happened, float]], news: list[News], begins: bool
) -> None:
    table, now_s = new_table(started_s=0.0 if begins else None), 0.0
    for what, gap_s in history:
        now_s += gap_s
        table = happen(table, what, now_s)
    after = merge(table, news, LEASE_S, now_s)
    assert set(after.servers) == set(table.servers)
    assert after.claim >= table.claim
    for vm, before in table.servers.items():
        now = after.servers[vm]
        assert now.epoch >= before.epoch
        if now.epoch == before.epoch:
            assert now.claim >= before.claim
            assert now.down >= before.down
            assert now.down or now.lease_until_s >= before.lease_until_s
            assert not now.suspect or before.suspect
    living = [server for server in after.servers.values() if not server.down]
    assert (after.available is None) == (not living)


@settings(deadline=None)
@given(histories, successors, st.booleans())
def test_a_death_that_another_router_tells_of_and_the_successor_commute(
    history: list[tuple[Happened, float]], successor: tuple[VmName, int, int, bool, int], twice: bool
) -> None:
    table, now_s = new_table(), 0.0
    for what, gap_s in history:
        now_s += gap_s
        table = happen(table, what, now_s)
    vm, dead, rise, leaving, claim = successor
    before = table.servers.get(vm)
    if before is None:
        return
    epoch = Epoch(before.epoch + dead)
    died = News(vm, epoch, True, 0, NEVER_S, before.leaving, before.clients, before.address, before.port)
    came = Register(vm, epoch + rise, leaving, 0, min(claim, table.claim))
    between = merge(table, [died], LEASE_S, now_s)
    one = happen(between, came, now_s)
    other = merge(happen(table, came, now_s), [died] * (1 + twice), LEASE_S, now_s)
    if between.available not in (None, one.available):
        assert one.available == other.available == vm
        return
    assert comparable(one) == comparable(other)


@settings(deadline=None)
@given(st.lists(st.tuples(histories, st.floats(0.0, 5.0)), min_size=3, max_size=3), st.permutations(range(6)))
def test_routers_that_exchange_come_to_one_choice(
    apart: list[tuple[list[tuple[Happened, float]], float]], order: list[int]
) -> None:
    """Each heard something else; then they exchange, in any order, until nothing changes."""
    tables = []
    for history, _ in apart:
        table, now_s = new_table(), 0.0
        for what, gap_s in history:
            now_s += gap_s
            table = happen(table, what, now_s)
        tables.append(table)
    now_s = 10_000.0
    pairs = list(itertools.permutations(range(3), 2))
    for vm in VMS:  # all live, and register with all: nobody is doubted, held down or leaving for ever
        epoch = max((t.servers[vm].epoch for t in tables if vm in t.servers), default=0) + 1
        tables = [happen(table, Register(vm, epoch, leaving=False, clients=0), now_s) for table in tables]
    for _ in range(3):
        for index in order:
            to, of = pairs[index]
            tables[to] = merge(tables[to], news_of(tables[of]), LEASE_S, now_s)
    assert len({table.available for table in tables}) == 1
    settled = [merge(table, news_of(other), LEASE_S, now_s) for table in tables for other in tables]
    assert settled == [table for table in tables for _ in tables]  # and it stays so: no claim chases another


@settings(deadline=None)
@given(histories, st.floats(0.0, 8.0))
def test_one_who_registers_elsewhere_is_not_doubted_here(
    history: list[tuple[Happened, float]], ago_s: float
) -> None:
    me = VmName("vm9")
    table, now_s = happen(new_table(), Register(me, 1, leaving=False, clients=0), 0.0), 0.0
    mine = news_of(table)[0]
    for what, gap_s in history:
        for _ in range(10):
            now_s += min(gap_s, 3.0) / 10
            table = merge(table, [replace(mine, heard_s=max(0.0, now_s - ago_s))], LEASE_S, now_s)
            table = expire(table, now_s)
            assert not table.servers[me].suspect
        table = happen(table, what, now_s)
