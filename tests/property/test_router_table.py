"""R1 to R8 of the router's table, whatever happens."""

from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from snsnode.base.ids import Epoch, VmName
from snsnode.router.merge import News, merge, unsure
from snsnode.router.table import (
    CLAIM_LEAP,
    EPOCH_LEAP,
    LATE_S,
    REPORT_LATE_S,
    Server,
    ServerState,
    Table,
    admit,
    crash,
    expire,
    register,
    suspect,
    tells_of,
)
from tests.table_rig import MEMBERS
from tests.table_rig import table as new_table

LEASE_S = 9.0
VMS = [VmName("vm2"), VmName("vm3"), VmName("vm4")]


@dataclass(frozen=True)
class Register:
    vm: VmName
    epoch: int
    leaving: bool
    clients: int
    claim: int = 0


@dataclass(frozen=True)
class Crash:
    vm: VmName
    epoch: int


@dataclass(frozen=True)
class Suspect:
    vm: VmName
    epoch: int


@dataclass(frozen=True)
class Look:
    pass


Happened = Register | Crash | Suspect | Look

vms = st.sampled_from(VMS)
epochs = st.integers(0, 5)
happenings: st.SearchStrategy[Happened] = st.one_of(
    st.builds(Register, vms, epochs, st.booleans(), st.integers(0, 3), st.integers(0, 9)),
    st.builds(Register, vms, st.just(5), st.just(False), st.just(0)),
    st.builds(Crash, vms, epochs),
    st.builds(Suspect, vms, epochs),
    st.just(Look()),
)
gaps = st.one_of(st.floats(0.0, 0.4), st.floats(0.0, 30.0))
histories = st.lists(st.tuples(happenings, gaps), max_size=60)
selections: st.SearchStrategy[Literal["single", "spread"]] = st.sampled_from(["single", "spread"])


def happen(table: Table, what: Happened, now_s: float) -> Table:
    match what:
        case Register(vm, epoch, leaving, clients, claim):
            server = Server(
                vm,
                "127.0.0.1",
                3020,
                Epoch(epoch),
                leaving=leaving,
                clients=clients,
                claim=claim,
            )
            return register(table, server, LEASE_S, now_s, confirmed=True)[0]
        case Crash(vm, epoch):
            return crash(table, vm, Epoch(epoch), now_s)[0]
        case Suspect(vm, epoch):
            return suspect(table, vm, Epoch(epoch), now_s)
        case Look():
            return expire(table, now_s)


@settings(deadline=None)
@given(histories, selections)
def test_epochs_never_fall_and_the_dead_stay_dead(
    history: list[tuple[Happened, float]], selection: Literal["single", "spread"]
) -> None:
    table, now_s = new_table(selection=selection), 0.0
    fallen: set[tuple[VmName, int]] = set()
    for what, gap_s in history:
        now_s += gap_s
        before, table = table, happen(table, what, now_s)
        for vm, server in before.servers.items():
            assert table.servers[vm].epoch >= server.epoch  # R1, and nobody is forgotten
            if not isinstance(what, Look) and what.vm != vm:
                # Nobody else is touched, but that one may be made available.
                assert table.servers[vm] in (server, replace(server, claim=table.claim))
        known = None if isinstance(what, Look) else before.servers.get(what.vm)
        if known is not None and not isinstance(what, Look) and what.epoch < known.epoch:
            in_time = isinstance(what, Crash) and tells_of(known, Epoch(what.epoch), now_s)
            assert table == before or in_time  # R8
        for vm, server in table.servers.items():
            if server.down:
                fallen.add((vm, server.epoch))
            else:
                assert (vm, server.epoch) not in fallen


@settings(deadline=None)
@given(histories, selections)
def test_whoever_lives_is_offered_and_nobody_dead(
    history: list[tuple[Happened, float]], selection: Literal["single", "spread"]
) -> None:
    table, now_s = new_table(selection=selection), 0.0
    for what, gap_s in history:
        now_s += gap_s
        table = happen(table, what, now_s)
        offered = table.offer(now_s)
        living = [server for server in table.servers.values() if not server.down]
        assert (offered is None) == (not living)
        assert offered is None or offered in living
        good = [server for server in living if not (server.suspect or server.leaving)]
        assert not good or offered in good
        if selection == "single":
            states = [table.state_of(server) for server in table.servers.values()]
            assert states.count(ServerState.AVAILABLE) <= 1
            assert (ServerState.AVAILABLE in states) == (offered is not None and not offered.suspect)


@settings(deadline=None)
@given(histories, st.booleans())
def test_the_choice_is_sticky(history: list[tuple[Happened, float]], begins: bool) -> None:
    table, now_s = new_table(started_s=0.0 if begins else None), 0.0
    for what, gap_s in history:
        now_s += gap_s
        before, table = table, happen(table, what, now_s)
        if before.available is None:
            continue
        was = table.servers[before.available]
        if was.down or was.suspect or was.leaving or table.available == before.available:
            continue
        if isinstance(what, Crash) and what.vm == before.available and tells_of(was, Epoch(what.epoch), now_s):
            continue  # R8: it crashed, and its successor was quicker than the report
        # R2: it is another one's claim that was told, or that counts now that it no longer leaves or is doubted.
        assert isinstance(what, Register) and table.available == what.vm
        chosen = table.servers[what.vm]
        assert chosen.claim >= max(was.claim, 1)


@settings(deadline=None)
@given(histories, st.booleans())
def test_claims_never_fall_and_the_choice_has_the_highest(
    history: list[tuple[Happened, float]], begins: bool
) -> None:
    table, now_s = new_table(started_s=0.0 if begins else None), 0.0
    for what, gap_s in history:
        now_s += gap_s
        before, table = table, happen(table, what, now_s)
        assert table.claim >= before.claim  # R5
        for vm, server in table.servers.items():
            assert server.claim <= table.claim
            known = before.servers.get(vm)
            assert known is None or server.epoch > known.epoch or server.claim >= known.claim
        if table.available is None or table.started_s is not None:
            continue
        if table.available != before.available or before.started_s is not None:
            chosen = table.servers[table.available]
            assert 0 < chosen.claim == table.claim
            # A claim that was granted here is one above all that were known, or were just told.
            highest = max(before.claim, what.claim if isinstance(what, Register) else 0)
            granted = before.servers[chosen.vm].claim != chosen.claim if chosen.vm in before.servers else False
            told = isinstance(what, Register) and what.vm == chosen.vm
            assert not granted or told or chosen.claim == highest + 1


@settings(deadline=None)
@given(histories, selections)
def test_one_who_is_held_down_is_offered_last(
    history: list[tuple[Happened, float]], selection: Literal["single", "spread"]
) -> None:
    table, now_s = new_table(selection=selection), 0.0
    for what, gap_s in history:
        now_s += gap_s
        before, table = table, happen(table, what, now_s)
        good = [s for s in table.servers.values() if not (s.down or s.suspect or s.leaving)]
        free = [s for s in good if s.held_s <= now_s]
        offered = table.offer(now_s)
        if not free or offered in free:
            continue
        assert selection == "single" and offered is not None  # R6, but the choice is sticky (R2)
        assert before.available == offered.vm


@settings(deadline=None)
@given(histories)
def test_leases_drop_nobody_and_an_absent_router_suspects_nobody(history: list[tuple[Happened, float]]) -> None:
    table, now_s = new_table(), 0.0
    looked_s: float | None = None
    for what, gap_s in history:
        now_s += gap_s
        before, table = table, happen(table, what, now_s)
        if not isinstance(what, Look):
            continue
        doubted = [vm for vm in table.servers if table.servers[vm].suspect and not before.servers[vm].suspect]
        assert [s.down for s in table.servers.values()] == [s.down for s in before.servers.values()]  # R3
        assert (table.available is None) == (before.available is None)
        for vm in doubted:
            assert before.servers[vm].lease_until_s <= now_s
        living = [vm for vm, server in before.servers.items() if not server.down]
        assert len(living) < 2 or set(doubted) != set(living)  # R4
        if looked_s is not None and now_s - looked_s > LATE_S:
            assert doubted == []  # R4
        looked_s = now_s


@settings(deadline=None)
@given(histories)
def test_one_who_renews_in_time_is_never_suspected(history: list[tuple[Happened, float]]) -> None:
    """Whatever the others do, and however often the router is away."""
    me = VmName("vm9")
    table, now_s = happen(new_table(), Register(me, 1, False, 0), 0.0), 0.0
    for what, gap_s in history:
        for _ in range(10):
            now_s += gap_s / 10
            table = happen(table, Register(me, 1, False, 0), now_s)
            table = happen(table, Look(), now_s)
            assert not table.servers[me].suspect
        table = happen(table, what, now_s)


def comparable(table: Table) -> Table:
    """Return ``table`` with the order of the claims in place of their numbers; those that are void are none."""
    claims = sorted({0, table.claim, *(server.rank_claim for server in table.servers.values())})
    servers = {
        vm: replace(server, claim=claims.index(server.rank_claim), void=0, unreported=None)
        for vm, server in table.servers.items()
    }
    return replace(table, servers=servers, claim=claims.index(table.claim), void=0)


successors = st.tuples(vms, st.integers(0, 3), st.integers(1, 2), st.booleans(), st.integers(0, 9))


@settings(deadline=None)
@given(histories, selections, st.booleans(), successors)
def test_the_crash_and_the_successor_commute(
    history: list[tuple[Happened, float]],
    selection: Literal["single", "spread"],
    begins: bool,
    successor: tuple[VmName, int, int, bool, int],
) -> None:
    """R8. A claim above all that are known is another router's choice, made after the crash: it comes later."""
    table, now_s = new_table(selection=selection, started_s=0.0 if begins else None), 0.0
    for what, gap_s in history:
        now_s += gap_s
        table = happen(table, what, now_s)
    vm, dead, rise, leaving, claim = successor
    known = table.servers.get(vm)
    epoch = (known.epoch if known is not None else 0) + dead
    died = Crash(vm, epoch)
    came = Register(vm, epoch + rise, leaving, 0, min(claim, table.claim))
    between = happen(table, died, now_s)
    one = happen(between, came, now_s)
    other = happen(happen(table, came, now_s), died, now_s)
    if between.available not in (None, one.available):
        # For want of a better one, one that leaves was the choice between the two words, and has a claim of it.
        assert one.available == other.available == vm
        return
    assert comparable(one) == comparable(other)
    for vm in VMS:  # and the same is said of whatever crashes next
        for each in (died, came, Crash(vm, 5), Look()):
            assert comparable(happen(one, each, now_s)) == comparable(happen(other, each, now_s))


@settings(deadline=None)
@given(histories, selections, successors, st.floats(REPORT_LATE_S + 0.001, 1000.0))
def test_a_report_that_is_late_by_long_changes_nothing(
    history: list[tuple[Happened, float]],
    selection: Literal["single", "spread"],
    successor: tuple[VmName, int, int, bool, int],
    late_s: float,
) -> None:
    table, now_s = new_table(selection=selection), 0.0
    for what, gap_s in history:
        now_s += gap_s
        table = happen(table, what, now_s)
    vm, dead, rise, leaving, claim = successor
    known = table.servers.get(vm)
    epoch = (known.epoch if known is not None else 0) + dead
    table = happen(table, Register(vm, epoch + rise, leaving, 0, claim), now_s)
    assert happen(table, Crash(vm, epoch), now_s + late_s) == table


strangers = st.sampled_from([*VMS, VmName("evil"), VmName("vm99")])
places = st.sampled_from([("127.0.0.1", 3020), ("127.0.0.1", 6666), ("192.0.2.66", 3020)])
leaping = st.one_of(st.integers(0, 3 * EPOCH_LEAP), st.just(2**61))
lies = st.lists(
    st.tuples(
        st.sampled_from(["register", "crash", "told", "admit"]),
        *(strangers, places, leaping, st.integers(0, 2**40), st.booleans(), st.booleans()),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(lies, selections)
def test_nothing_is_there_that_the_spec_lacks_and_no_epoch_leaps_unconfirmed(
    lies: list[tuple[str, VmName, tuple[str, int], int, int, bool, bool]], selection: Literal["single", "spread"]
) -> None:
    table = new_table(selection=selection)
    for step, (how, vm, place, epoch, claim, down, confirmed) in enumerate(lies):
        before, now_s = table, float(step)
        server = Server(vm, *place, Epoch(epoch), claim=claim)
        match how:
            case "register":
                table = register(table, server, LEASE_S, now_s, confirmed=confirmed)[0]
            case "crash":
                table = crash(table, vm, Epoch(epoch), now_s)[0]
            case "told":
                news = News(vm, Epoch(epoch), down, claim, now_s, False, 0, *place)
                assert vm in table.members or not unsure(table, [news])
                table = merge(table, [news], LEASE_S, now_s)
            case _:
                members = {name: member for name, member in MEMBERS.items() if name != vm} if down else MEMBERS
                table = admit(table, members, now_s)
        for name, known in table.servers.items():
            assert (known.address, known.port) == ("127.0.0.1", 3020)  # R7
            assert name in table.members
            was = before.servers.get(name)
            if how != "register" or not confirmed:
                assert was is not None and was.epoch <= known.epoch <= was.epoch + EPOCH_LEAP  # R1
                assert known.claim <= before.claim + CLAIM_LEAP + 1
        assert table.available is None or table.available in table.servers
