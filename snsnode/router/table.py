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


@dataclass(frozen=True, slots=True)
class Table:
    """The servers heard of, by VM, and the one that is available; ``members`` are those of the spec."""

    members: Mapping[VmName, Endpoint] = field(default_factory=dict)
    servers: dict[VmName, Server] = field(default_factory=dict)
    available: VmName | None = None
    claim: int = 0  # the highest that was ever known
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
        entry = replace(entry, crashes=known.crashes, crashed_s=known.crashed_s, held_s=known.held_s)
        if known.down:
            entry = returned(entry, now_s)
        else:
            # A restart that nobody reported keeps its place.
            entry = replace(entry, order=known.order, claim=max(claim, known.claim))
        if known.epoch == server.epoch:
            logins -= known.logins
    if claim > table.claim:
        entry = replace(entry, held_s=NEVER_S)  # it was made available after all that we know: follow (R5)
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
        return table, Verdict(False, known.epoch, f"epoch {epoch} of {vm} was replaced already")
    if epoch > known.epoch + EPOCH_LEAP:
        message = f"epoch {epoch} of {vm} is too far above the known epoch {known.epoch} to be believed"
        return table, Verdict(False, known.epoch, message)
    if known.down and epoch == known.epoch:
        return table, Verdict(True, known.epoch, f"{vm} is known to be down")
    entry = fallen(replace(known, epoch=epoch), now_s)
    grown = replace(table, servers=table.servers | {vm: entry})
    return elect(grown, now_s), Verdict(True, epoch, "removed")


def fallen(server: Server, now_s: float) -> Server:
    """Return ``server`` as one that has died; what left before it died has not crashed (R6)."""
    down = replace(server, down=True, suspect=False)
    if server.leaving or server.down:
        return down
    crashes = flapping.crashes_after(server.crashes, server.crashed_s, now_s)
    return replace(down, crashes=crashes, crashed_s=now_s)


def returned(server: Server, now_s: float) -> Server:
    """Return ``server`` as one that was down and is back (R6)."""
    return replace(server, held_s=flapping.held_until_s(server.crashes, server.crashed_s, now_s))


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

    A new choice that was not made elsewhere gets a claim of its own.
    """
    candidates = [s for s in table.servers.values() if not s.down]
    best = min(candidates, key=lambda s: _rank(table, s, now_s), default=None)
    if best is None:
        return replace(table, available=None)
    if best.vm == table.available:
        return table
    return _granted(replace(table, available=best.vm))


def _rank(table: Table, server: Server, now_s: float) -> tuple[bool, bool, float, int, str, bool, int]:
    chosen = server.vm == table.available
    # The choice is not taken back for crashes that are over (R2); of those held down the next to be free is best.
    held = server.held_s if server.held_s > now_s and not chosen else NEVER_S
    # Two routers may have granted one claim at the same time, to two servers: the name decides in both alike.
    name = server.vm if server.claim else ""
    return server.suspect, server.leaving, held, -server.claim, name, not chosen, server.order


def _granted(table: Table) -> Table:
    """Give the available server a claim above all others', unless it has the highest already (R5)."""
    if table.available is None or table.started_s is not None or table.selection == "spread":
        return table
    chosen = table.servers[table.available]
    if 0 < chosen.claim == table.claim:
        return table
    claim = table.claim + 1
    return replace(table, servers=table.servers | {chosen.vm: replace(chosen, claim=claim)}, claim=claim)
