"""The router's table of servers. Pure: table + event + now → new table + verdict.

Called by ``service``, by ``merge`` for what other routers say, and by simulators; it has no clock, socket or log.
Invariants:

R1  **Epochs never fall, and do not leap.** What is said of a server below its known epoch changes nothing. The
    epoch of a server that is not known, and one far above the known epoch, count only when that very server has
    confirmed them: anybody could say them, and the real server could never register again.
R2  **The choice is sticky.** The available server stays so until it crashed, leaves or is suspect, or another
    router or an operator made another one available later: that one has a higher *claim*.
R3  **A lease that runs out makes a server SUSPECT and never drops it**: the last one is offered all the same.
R4  **When nobody renews, the router is away**, not they: leases stand still meanwhile, and nobody is suspected.
    One alone is silent only where another was heard long enough after it.
R5  **Claims never fall.** Whoever is made available here gets a claim above all that are known. Masters carry
    theirs to every router, so one that begins, or was cut off, finds the latest choice; among equal claims names
    decide, in every router alike. A router that just began grants none: it does not know yet what was before.
R6  **A server that keeps crashing is offered last** for a growing while, unless it is the only one.
R7  **There are only servers of the spec**, each with the address that the spec gives it.
R8  **The two words about one death commute.** A slave reports that its master crashed, and the successor
    registers: whichever comes first, the result is the same. A report that comes ``REPORT_LATE_S`` after the
    successor changes nothing: the clients are back by then, and the choice would move for nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal, Protocol

from snsnode.base.ids import Epoch, VmName
from snsnode.node.cluster import canonical
from snsnode.node.config import Endpoint
from snsnode.router import flapping, offers
from snsnode.router.flapping import NEVER_S
from snsnode.router.offers import Offers

LATE_S = 0.5  # a look at the leases that comes so late says that the router itself did not run
RENEWS_WITHIN = 0.65  # of a lease: a server that can reach us renews twice in each, and three times by default
# A slave reports within milliseconds. Where a router is slow to answer, it tries again after a time-out of 1 s and
# at most 0.6 s of backoff, and that may once more take 1 s.
REPORT_LATE_S = 3.0
RECALL_S = 2.0  # so long a router that just began grants no claim: masters ask about each second
EPOCH_LEAP = 1_000  # no server restarts so often unheard: an epoch so far ahead is an error or a lie
CLAIM_LEAP = 1_000  # nor is the choice made so often unheard
CLAIM_LEAP_CONFIRMED = 2**32  # by the server: one lie of this size still leaves room for 2**30 others


class ServerState(Enum):
    """What a server is to clients."""

    AVAILABLE = "AVAILABLE"
    STANDBY = "STANDBY"
    SUSPECT = "SUSPECT"
    DOWN = "DOWN"


class Placed(Protocol):
    """Whatever says that a VM's server is at an address."""

    @property
    def vm(self) -> VmName:
        """The VM."""

    @property
    def address(self) -> str:
        """An IP address or a host name."""

    @property
    def port(self) -> int:
        """A TCP port."""


@dataclass(frozen=True, slots=True)
class Unreported:
    """What would be said of a server, had its predecessor's crash been reported before it registered (R8)."""

    epoch: Epoch  # the predecessor's
    until_s: float  # a report counts until then
    claim: int  # the predecessor's
    crashes: int
    crashed_s: float
    held_s: float


@dataclass(frozen=True, slots=True)
class Server:
    """One server as known here; all times are monotonic.

    A registration gives the first fields, down to ``claim``; what follows is the router's own.
    """

    vm: VmName
    address: str
    port: int
    epoch: Epoch
    leaving: bool = False
    clients: int = 0
    logins: int = 0  # how many there were since its epoch began
    claim: int = 0  # of this epoch: how recently it was made available; 0: never
    order: int = 0  # counts those who came, or came back
    lease_s: float = 0.0
    lease_until_s: float = 0.0
    heard_s: float = NEVER_S  # its last registration here
    news_s: float = NEVER_S  # its last registration that we know of, here or with another router
    suspect: bool = False
    suspected_s: float = NEVER_S
    down: bool = False
    crashes: int = 0
    crashed_s: float = NEVER_S
    held_s: float = NEVER_S  # offered last until then
    void: int = 0  # claims up to this one were those of a predecessor that crashed, and put it before nobody
    unreported: Unreported | None = None  # its predecessor is gone, and nobody has said yet that it crashed

    @property
    def rank_claim(self) -> int:
        """The claim that counts where servers are compared; 0: none."""
        return self.claim if self.claim > self.void else 0


@dataclass(frozen=True, slots=True)
class Table:
    """The servers heard of, by VM, and the one that is available; ``members`` are those of the spec."""

    members: Mapping[VmName, Endpoint] = field(default_factory=dict)
    servers: dict[VmName, Server] = field(default_factory=dict)
    available: VmName | None = None
    claim: int = 0  # the highest that was ever known
    void: int = 0  # the highest of a server that died
    registrations: int = 0
    looked_s: float | None = None
    started_s: float | None = None  # None: it did not just begin
    selection: Literal["single", "spread"] = "single"
    offers: dict[VmName, Offers] = field(default_factory=dict)

    def state_of(self, server: Server) -> ServerState:
        """Return what ``server`` is to clients."""
        if server.down:
            return ServerState.DOWN
        if self.selection == "single" and server.vm == self.available:
            return ServerState.SUSPECT if server.suspect else ServerState.AVAILABLE
        if server.suspect:
            return ServerState.SUSPECT
        if self.selection == "spread" and (not server.leaving or self._has_only_leaving()):
            return ServerState.AVAILABLE
        return ServerState.STANDBY

    def offer(self, now_s: float, full: frozenset[VmName] = frozenset()) -> Server | None:
        """Return the server to give to the next client, None where none lives.

        One that had no room for this client is given for want of another one.
        """
        offered = self._offer(now_s)
        if offered is None or offered.vm not in full:
            return offered
        fit = (s for s in self.servers.values() if s.vm not in full and not (s.down or s.suspect or s.leaving))
        return min(fit, key=lambda s: self._load(s, now_s), default=offered)

    def _offer(self, now_s: float) -> Server | None:
        if self.selection == "spread":
            candidates = [s for s in self.servers.values() if not s.down]
            return min(candidates, key=lambda s: self._load(s, now_s), default=None)
        return self.servers[self.available] if self.available is not None else None

    def _load(self, server: Server, now_s: float) -> tuple[bool, bool, bool, float, int]:
        clients = server.clients + offers.under_way(self.offers.get(server.vm, ()), now_s)
        load = clients / flapping.weight(server.held_s, now_s)
        return server.leaving, server.suspect, server.held_s > now_s, load, server.order

    def _has_only_leaving(self) -> bool:
        return all(server.leaving for server in self.servers.values() if not server.down)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a registration or a crash report; ``epoch`` is the highest one known."""

    accepted: bool
    epoch: Epoch
    message: str = ""


def members_of(servers: Iterable[Endpoint]) -> dict[VmName, Endpoint]:
    """Return ``Table.members`` for the servers of a spec."""
    return {server.vm: server for server in servers}


def admit(table: Table, members: Mapping[VmName, Endpoint], now_s: float) -> Table:
    """Take a changed spec: forget servers that are no longer in it, or have another address (R7)."""
    table = replace(table, members=members)
    servers = {vm: server for vm, server in table.servers.items() if is_member(table, server)}
    if len(servers) == len(table.servers):
        return table
    pending = {vm: given for vm, given in table.offers.items() if vm in servers}
    available = table.available if table.available in servers else None
    return elect(replace(table, servers=servers, offers=pending, available=available), now_s)


def is_member(table: Table, server: Placed) -> bool:
    """Tell whether the spec has ``server``, at this address and port (R7)."""
    member = table.members.get(server.vm)
    if member is None or member.port != server.port:
        return False
    return member.address == server.address or canonical(member.address) == canonical(server.address)


def is_doubtful(table: Table, server: Server) -> bool:
    """Tell whether what is said of ``server`` counts only when it has confirmed it itself (R1)."""
    known = table.servers.get(server.vm)
    return (
        known is None
        or server.epoch > known.epoch + EPOCH_LEAP
        or (server.epoch >= known.epoch and server.claim > table.claim + CLAIM_LEAP)
    )


def register(
    table: Table, server: Server, lease_s: float, now_s: float, *, confirmed: bool
) -> tuple[Table, Verdict]:
    """Take or renew a registration; refused below the known epoch, and at it once that one crashed (R1).

    A claim that is beyond belief counts for nothing; the registration itself is taken.

    Args:
        confirmed: the server at the spec's address said so itself, when it was asked.
    """
    known = table.servers.get(server.vm)
    refusal = refused(table, server, confirmed=confirmed)
    if refusal is not None:
        return table, refusal
    claim = believed(table, server.claim, CLAIM_LEAP_CONFIRMED if confirmed else CLAIM_LEAP)
    renews = known is not None and not known.down
    entry = replace(
        server,
        address=table.members[server.vm].address,
        claim=claim,
        order=table.registrations,
        lease_s=lease_s,
        lease_until_s=now_s + lease_s,
        heard_s=now_s,
        news_s=now_s,
    )
    logins = server.logins
    if known is not None:
        entry = _succeeding(known, entry, now_s)
        if known.epoch == server.epoch:
            logins -= known.logins
    if claim > table.claim:
        entry = freed(entry)
    grown = replace(
        table,
        servers=table.servers | {server.vm: entry},
        registrations=table.registrations + (0 if renews else 1),
        claim=max(table.claim, claim),
        offers=_settled(table, server.vm, max(0, logins), now_s),
    )
    if known is not None and renews and _ranks_alike(known, entry):
        return grown, Verdict(True, server.epoch)
    return elect(grown, now_s), Verdict(True, server.epoch)


def _succeeding(known: Server, entry: Server, now_s: float) -> Server:
    """Return the registration ``entry`` of a server that was ``known`` before."""
    entry = replace(
        entry,
        crashes=known.crashes,
        crashed_s=known.crashed_s,
        held_s=known.held_s,
        void=known.void,
        unreported=known.unreported,
    )
    if known.down:
        return returned(entry, known.claim, now_s)
    # A restart that nobody reported keeps its place.
    entry = replace(entry, order=known.order, claim=max(entry.claim, known.claim))
    return replace(entry, unreported=unreported(known, now_s)) if entry.epoch > known.epoch else entry


def refused(table: Table, server: Server, *, confirmed: bool) -> Verdict | None:
    """Return why ``register`` refuses ``server``; None where it takes it."""
    known = table.servers.get(server.vm)
    known_epoch = known.epoch if known is not None else Epoch(0)
    if not is_member(table, server):
        return Verdict(False, known_epoch, f"the spec has no server {server.vm} at {server.address}:{server.port}")
    if known is None or server.epoch > known.epoch or (server.epoch == known.epoch and not known.down):
        if confirmed or not is_doubtful(table, server):
            return None
        return Verdict(False, known_epoch, f"epoch {server.epoch} of {server.vm} was not confirmed")
    what = "crashed" if server.epoch == known.epoch else "was replaced"
    message = f"epoch {server.epoch} of {server.vm} {what}; the known epoch is {known.epoch}"
    return Verdict(False, known.epoch, message)


def _ranks_alike(known: Server, entry: Server) -> bool:
    """Tell whether a renewal changes nothing that an election looks at: the common case, and a cheap one."""
    return not known.suspect and known.leaving == entry.leaving and known.claim == entry.claim


def _settled(table: Table, vm: VmName, logins: int, now_s: float) -> dict[VmName, Offers]:
    pending = table.offers.get(vm)
    return table.offers | {vm: offers.settle(pending, logins, now_s)} if pending else table.offers


def count_offer(table: Table, vm: VmName, now_s: float) -> Table:
    """Note that a client was sent to ``vm``; its own count follows with one of its next renewals."""
    return replace(table, offers=table.offers | {vm: offers.add(table.offers.get(vm, ()), now_s)})


def crash(table: Table, vm: VmName, epoch: Epoch, now_s: float) -> tuple[Table, Verdict]:
    """Remove a crashed server and promote another; ignored below the known epoch or far above it (R1).

    One that is not known need not be remembered: it comes back only by its own word.
    """
    known = table.servers.get(vm)
    if known is None:
        return table, Verdict(True, epoch, f"{vm} was not registered")
    if epoch < known.epoch:
        if not tells_of(known, epoch, now_s):
            return table, Verdict(False, known.epoch, f"epoch {epoch} of {vm} was replaced already")
        message = f"its successor, epoch {known.epoch}, was here first: it begins anew"
        return begin_anew(table, [vm], now_s), Verdict(True, known.epoch, message)
    if epoch > known.epoch + EPOCH_LEAP:
        message = f"epoch {epoch} of {vm} is too far above the known epoch {known.epoch} to be believed"
        return table, Verdict(False, known.epoch, message)
    if known.down and epoch == known.epoch:
        return table, Verdict(True, known.epoch, f"{vm} is known to be down")
    entry = fallen(replace(known, epoch=epoch), now_s)
    grown = replace(table, servers=table.servers | {vm: entry}, void=max(table.void, known.claim))
    return elect(grown, now_s), Verdict(True, epoch, "removed")


def fallen(server: Server, now_s: float) -> Server:
    """Return ``server`` as one that has died; what left before it died has not crashed (R6)."""
    down = replace(server, down=True, suspect=False, unreported=None)
    if server.leaving or server.down:
        return down
    crashes = flapping.crashes_after(server.crashes, server.crashed_s, now_s)
    return replace(down, crashes=crashes, crashed_s=now_s)


def returned(server: Server, claim: int, now_s: float) -> Server:
    """Return ``server`` as one that was down and is back (R6); ``claim`` was that of the one that died."""
    held_s = flapping.held_until_s(server.crashes, server.crashed_s, now_s)
    return replace(server, held_s=held_s, void=max(server.void, claim), unreported=None)


def freed(server: Server) -> Server:
    """Return ``server`` as one that was made available after all that we know: follow (R5)."""
    told = server.unreported
    return replace(server, held_s=NEVER_S, unreported=replace(told, held_s=NEVER_S) if told else None)


def unreported(known: Server, now_s: float) -> Unreported:
    """Return what a late report of the crash of ``known`` will say of its successor, which registers now (R8)."""
    back = returned(fallen(known, now_s), known.claim, now_s)
    return Unreported(known.epoch, now_s + REPORT_LATE_S, known.claim, back.crashes, back.crashed_s, back.held_s)


def tells_of(known: Server, epoch: Epoch, now_s: float) -> bool:
    """Tell whether a report of a crash of ``epoch`` is about the predecessor of ``known``, and in time (R8)."""
    told = known.unreported
    return told is not None and told.epoch <= epoch < known.epoch and now_s <= told.until_s and not known.down


def begun_anew(known: Server, order: int) -> Server:
    """Return ``known`` as if the crash of its predecessor had been reported before it registered (R8)."""
    told = known.unreported
    assert told is not None
    return replace(
        known,
        order=order,
        crashes=told.crashes,
        crashed_s=told.crashed_s,
        held_s=told.held_s,
        void=max(known.void, told.claim),
        unreported=None,
    )


def begin_anew(table: Table, vms: Iterable[VmName], now_s: float) -> Table:
    """Take late reports about the predecessors of ``vms``, and choose anew where one of them was the choice."""
    servers, registrations, void = dict(table.servers), table.registrations, table.void
    for vm in vms:
        servers[vm] = begun_anew(servers[vm], registrations)
        registrations += 1
        void = max(void, servers[vm].void)
        if vm == table.available:
            table = replace(table, available=None)
    return elect(replace(table, servers=servers, registrations=registrations, void=void), now_s)


def suspect(table: Table, vm: VmName, epoch: Epoch, now_s: float) -> Table:
    """Doubt a server that could not be reached; it is still there for want of a better one (R3)."""
    known = table.servers.get(vm)
    if known is None or known.down or epoch != known.epoch:
        return table
    return elect(replace(table, servers=table.servers | {vm: _doubted(known, now_s)}), now_s)


def expire(table: Table, now_s: float) -> Table:
    """Suspect those whose lease ran out (R3), unless the router itself was away (R4)."""
    if table.started_s is not None and now_s - table.started_s > RECALL_S:
        # The leases first: a claim is for whoever is the choice after this look.
        return _granted(_expired(replace(table, started_s=None), now_s))
    return _expired(table, now_s)


def _expired(table: Table, now_s: float) -> Table:
    late = table.looked_s is not None and now_s - table.looked_s > LATE_S
    table = replace(table, looked_s=now_s)
    alive = [s for s in table.servers.values() if not s.down]
    latest_s = max((s.news_s for s in alive), default=now_s)
    cut_off = len(alive) > 1 and all(now_s - latest_s > RENEWS_WITHIN * s.lease_s for s in alive)
    if late or cut_off:
        return replace(table, servers={vm: _prolonged(s, now_s) for vm, s in table.servers.items()})
    expired = [
        s
        for s in alive
        if s.lease_until_s <= now_s
        and not s.suspect
        # Else all may be silent since one moment, in which we were cut off: the next look tells.
        and (len(alive) == 1 or latest_s - s.news_s > RENEWS_WITHIN * s.lease_s)
    ]
    if not expired:
        return table
    doubted = {s.vm: _doubted(s, now_s) for s in expired}
    return elect(replace(table, servers=table.servers | doubted), now_s)


def _doubted(server: Server, now_s: float) -> Server:
    return replace(server, suspect=True, suspected_s=now_s)


def _prolonged(server: Server, now_s: float) -> Server:
    """Give a server a whole lease again: it could not have renewed while we did not run."""
    return replace(server, lease_until_s=max(server.lease_until_s, now_s + server.lease_s))


def believed(table: Table, claim: int, leap: int = CLAIM_LEAP) -> int:
    """Return ``claim``, or 0 where it is beyond belief: more than ``leap`` above all that are known."""
    return claim if claim <= table.claim + leap else 0


def elect(table: Table, now_s: float) -> Table:
    """Make the best available: not suspect, not leaving, not held down, then by claim (R5), then the oldest.

    A new choice that was not made elsewhere gets a claim of its own. So does one whose claim is not above that of
    a server that died: elsewhere its successor may carry that on, and there it would be the choice.
    """
    candidates = [s for s in table.servers.values() if not s.down]
    best = min(candidates, key=lambda s: _rank(table, s, now_s), default=None)
    if best is None:
        return replace(table, available=None)
    if best.vm != table.available:
        return _granted(replace(table, available=best.vm))
    return table if table.void == 0 or best.rank_claim > table.void else _granted(table)


def _rank(table: Table, server: Server, now_s: float) -> tuple[bool, bool, float, int, str, bool, int]:
    chosen = server.vm == table.available
    # The choice is not taken back for crashes that are over (R2); of those held down the next to be free is best.
    held = server.held_s if server.held_s > now_s and not chosen else NEVER_S
    # Two routers may have granted one claim at the same time, to two servers: the name decides in both alike.
    claim = server.claim if server.claim > server.void else 0  # as rank_claim, for which there is no time here
    name = server.vm if claim else ""
    return server.suspect, server.leaving, held, -claim, name, not chosen, server.order


def _granted(table: Table) -> Table:
    """Give the available server a claim above all others', unless it has the highest already (R5)."""
    if table.available is None or table.started_s is not None or table.selection == "spread":
        return table
    chosen = table.servers[table.available]
    if table.void < chosen.rank_claim == table.claim:
        return table
    claim = table.claim + 1
    return replace(table, servers=table.servers | {chosen.vm: replace(chosen, claim=claim)}, claim=claim)
