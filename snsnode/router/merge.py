"""What routers tell each other of their servers, and how it is merged. Pure.

Called by ``service`` for each exchange. News are joined by epoch: the higher epoch says everything; within one
epoch dead is dead, the higher claim counts, and the rest is as the last registration said it. ``join`` is
commutative, associative and idempotent, so routers that exchange in any order, late or twice know the same.

Suspicion and hold-down are each router's own and are not told: a server that registers with another router is
alive here too, for its lease, and one that this router cannot reach is doubted here alone.

A server that is not known here, or whose epoch leaps, is not taken from another router: it is asked itself
(``unsure``), so that what one router was made to believe does not spread.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from snsnode.base.ids import Epoch, VmName
from snsnode.router.flapping import NEVER_S
from snsnode.router.table import (
    EPOCH_LEAP,
    RECALL_S,
    Server,
    Table,
    begin_anew,
    believed,
    fallen,
    freed,
    is_member,
    returned,
    tells_of,
    unreported,
)


@dataclass(frozen=True, slots=True)
class News:
    """One server as a router tells it to another; ``heard_s`` is on the monotonic clock of whoever holds it.

    A router tells only what it heard from the server itself. Hearsay, sent round and round, would look younger
    with each delay and keep a dead server's lease alive.
    """

    vm: VmName
    epoch: Epoch
    down: bool
    claim: int
    heard_s: float  # NEVER_S: it registered with others only
    leaving: bool
    clients: int
    address: str
    port: int


def join(one: News, other: News) -> News:
    """Return what is known of a server after both pieces of news, in either order."""
    if one.epoch != other.epoch:
        return one if one.epoch > other.epoch else other
    latest = max(one, other, key=_said)
    return replace(latest, down=one.down or other.down, claim=max(one.claim, other.claim))


def _said(news: News) -> tuple[float, bool, int, str, int]:
    return news.heard_s, news.leaving, news.clients, news.address, news.port


def merge(table: Table, told: Iterable[News], lease_s: float, now_s: float) -> Table:
    """Take what another router told of the servers known here; nobody is dropped, and no epoch or claim falls."""
    servers, registrations, claim, void = dict(table.servers), table.registrations, table.claim, table.void
    late: dict[VmName, None] = {}
    for news in told:
        if not is_member(table, news) or _leaps(table, news):
            continue
        known = servers[news.vm]
        if news.down and tells_of(known, news.epoch, now_s):
            late[news.vm] = None
            continue
        news = replace(news, claim=believed(table, news.claim), address=known.address)
        entry = _after(known, news, registrations, lease_s, now_s)
        if entry is known:
            continue
        if entry.claim > table.claim:
            entry = freed(entry)
        if entry.order == registrations:
            registrations += 1
        claim = max(claim, entry.claim)
        void = max(void, entry.void, entry.claim if entry.down else 0)
        servers[news.vm] = entry
    if servers == table.servers and not late:
        return table
    table = replace(table, servers=servers, registrations=registrations, claim=claim, void=void)
    return begin_anew(table, [vm for vm in late if servers[vm].unreported is not None], now_s)


def unsure(table: Table, told: Iterable[News]) -> list[VmName]:
    """Return the servers that another router says live and that ``merge`` does not take: they are to be asked."""
    return [news.vm for news in told if not news.down and is_member(table, news) and _leaps(table, news)]


def _leaps(table: Table, news: News) -> bool:
    known = table.servers.get(news.vm)
    return known is None or news.epoch > known.epoch + EPOCH_LEAP


def _after(known: Server, news: News, order: int, lease_s: float, now_s: float) -> Server:
    before = _news(known, known.news_s)
    after = join(before, news)
    if after == before:
        return known
    is_another = after.epoch > known.epoch
    # One that is new has time to register here, too, before it is doubted.
    until_s = now_s + RECALL_S if is_another else known.lease_until_s
    entry = replace(
        known,
        address=after.address,
        port=after.port,
        epoch=after.epoch,
        leaving=after.leaving,
        clients=after.clients,
        logins=0 if is_another else known.logins,
        claim=after.claim,
        lease_until_s=max(known.lease_until_s, until_s, after.heard_s + lease_s),
        heard_s=NEVER_S if is_another else known.heard_s,
        news_s=after.heard_s,
        suspect=known.suspect and not is_another and after.heard_s <= known.suspected_s,
        void=max(known.void, known.claim) if is_another and (known.down or after.down) else known.void,
        unreported=None if is_another else known.unreported,
    )
    if after.down:
        # Whether it left before it died is what we knew of that incarnation, where it is the one that we knew.
        return entry if known.down else fallen(entry, now_s)
    if known.down:
        return replace(returned(entry, known.claim, now_s), down=False, order=order)
    return replace(entry, unreported=unreported(known, now_s)) if is_another else entry


def _news(server: Server, heard_s: float) -> News:
    return News(
        vm=server.vm,
        epoch=server.epoch,
        down=server.down,
        claim=server.claim,
        heard_s=heard_s,
        leaving=server.leaving,
        clients=server.clients,
        address=server.address,
        port=server.port,
    )
