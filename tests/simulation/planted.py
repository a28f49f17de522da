"""Bugs that the simulator must find, each planted by replacing one function of the product, or of a model.

They are kept so that we know what a clean run is worth: a simulator that finds none of them proves nothing.
"""

import random
from dataclasses import dataclass, replace

from snsnode.base.ids import Epoch, VmName
from snsnode.client.resume import Progress
from snsnode.guard.judge import Memory, judge
from snsnode.guard.judge import Verdict as Judged
from snsnode.guard.machine import Event, Outcome, Rules, State, step
from snsnode.guard.table import TABLE
from snsnode.guard.times import Times
from snsnode.guard.view import Me, View
from snsnode.router import table
from snsnode.router.table import Server, Table, Verdict
from tests.simulation.machines import Machines
from tests.simulation.world import Setup


def _register_any_epoch(
    known: Table, server: Server, lease_s: float, now_s: float, *, confirmed: bool
) -> tuple[Table, Verdict]:
    """Take a registration whatever its epoch: as if the server had never been heard of."""
    others = {vm: other for vm, other in known.servers.items() if vm != server.vm}
    before = known.servers.get(server.vm)
    if before is not None and server.epoch < before.epoch:
        known = replace(known, servers=others, available=known.available if known.available in others else None)
        confirmed = True
    return table.register(known, server, lease_s, now_s, confirmed=confirmed)


def _crash_any_epoch(known: Table, vm: VmName, epoch: Epoch, now_s: float) -> tuple[Table, Verdict]:
    """Believe a crash whatever its epoch: as if it were that of the one we know."""
    before = known.servers.get(vm)
    believed = before.epoch if before is not None and epoch < before.epoch else epoch
    return table.crash(known, vm, believed, now_s)


def _never_renew(
    known: Table, server: Server, lease_s: float, now_s: float, *, confirmed: bool
) -> tuple[Table, Verdict]:
    """Take a renewal, and leave the lease as it was."""
    before = known.servers.get(server.vm)
    after, verdict = table.register(known, server, lease_s, now_s, confirmed=confirmed)
    if before is None or before.epoch != server.epoch or before.down:
        return after, verdict
    entry = replace(after.servers[server.vm], lease_until_s=before.lease_until_s)
    return replace(after, servers=after.servers | {server.vm: entry}), verdict


def _no_jitter(rng: random.Random) -> float:
    """Let every client wait the whole step."""
    return 0.999


def _new_request_id(number: int, attempt: int) -> str:
    """Take a new id for each attempt."""
    return f"r{number}-{attempt}"


def _resume_one_later(progress: Progress) -> int | None:
    """Resume after the post that comes next."""
    return None if progress.after is None else progress.after + 1


def _stop_ignored(state: State, event: Event, now_s: float, rules: Rules, *, wanted: bool) -> Outcome:
    """Restart what was stopped."""
    return step(state, event, now_s, rules, wanted=True)


def _late_judge(state: State, event: Event, now_s: float, rules: Rules, *, wanted: bool) -> Outcome:
    """Judge although we did not run."""
    return step(replace(state, tick_s=None), event, now_s, rules, wanted=wanted)


_ROWS = {row.name: row for row in TABLE}


def _no_patience(memory: Memory, view: View, me: Me, now_s: float, settings: Times) -> Judged:
    """End a spare that was sent in at the first look."""
    hasty = [replace(row, patience_s=lambda _: 0.0) if row is _ROWS["sent spare"] else row for row in TABLE]
    return judge(memory, view, me, now_s, settings, hasty)


def _dead_pair_forgotten(memory: Memory, view: View, me: Me, now_s: float, settings: Times) -> Judged:
    """Launch nothing where the whole pair is dead."""
    return judge(memory, view, me, now_s, settings, [row for row in TABLE if row is not _ROWS["dead pair"]])


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug: what it replaces, in which world it is looked for, and what the simulator says of it."""

    name: str
    machines: Machines
    setup: Setup
    finding: str  # a part of the violation
    seeds_max: int = 10


_SMALL = Setup(seconds=20.0, fault_every_s=0.7)
_LATE = replace(_SMALL, only=("kill master", "slow network", "repeating network", "freeze router"))
_STOPS = replace(_SMALL, only=("operator stops master", "operator stops pair", "kill master"))
_PAUSES = replace(_SMALL, seconds=30.0, only=("pause machine",))
_STORM = Setup(vms=2, clients=60, seconds=20.0, fault_every_s=4.0, only=("kill everything",))

_SENT_IN = replace(_SMALL, only=("kill master", "deadlock spare"))
_ALL_DIE = replace(_SMALL, only=("kill all three",))

BUGS = (
    Bug("epoch check dropped at registration", Machines(register=_register_any_epoch), _LATE, "the epoch of"),
    Bug("epoch check dropped at a crash", Machines(crash=_crash_any_epoch), _LATE, "and it serves"),
    Bug("lease never renewed", Machines(register=_never_renew), _SMALL, "which renewed its lease"),
    Bug("no jitter", Machines(unit=_no_jitter), _STORM, "within 100 ms"),
    Bug("request id forgotten", Machines(request_id=_new_request_id), _SMALL, "is stored twice"),
    Bug("a stop is ignored", Machines(pair=_stop_ignored), _STOPS, "I2: a launch that is not wanted"),
    Bug(
        "a late watcher judges",
        Machines(pair=_late_judge),
        _PAUSES,
        "I3: evidence from before a late tick was kept",
    ),
    Bug("a slave has no patience", Machines(judge=_no_patience), _SENT_IN, "without a late look: sent spare"),
    Bug("a dead pair is forgotten", Machines(judge=_dead_pair_forgotten), _ALL_DIE, "waits since"),
    Bug("resume off by one", Machines(resume_after=_resume_one_later), _SMALL, "was missed"),
)
