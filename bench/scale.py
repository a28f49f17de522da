"""How recovery scales with the cluster, in the simulator: python bench/scale.py [--vms N,N,…] [--json] [--write]

For each size and selection one world of N VMs, three routers and ten clients a VM lives through three faults, one
after the other, each when the one before is repaired and 8 virtual seconds have passed. All times are virtual: the
pure machines are the product's, the delays are those of ``tests/simulation/delays.py``, measured ones or assumed
ones. The same command gives the same figures on any machine; only ``wall_s`` is this machine's.

``--write`` makes docs/scale.md and its pictures; ``--page FILE`` makes them from what ``--json`` printed before.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scale_page import write_page

from tests.simulation import delays
from tests.simulation.world import Setup, World

SIZES = (10, 30, 100, 300, 1000)
CLIENTS_PER_VM = 10
ROUTERS = 3
THINK_S = 10.0  # between a client's posts
STEP_S = 0.25
SETTLE_S = 8.0
WITHIN_S = 120.0  # a client that is not served by then counts as lost
SEED = 1
# For speed, watchers look four times less often than theirs do (0.1 s): of a death the kernel tells, and nobody
# hangs here. In a storm other draws follow, as from another seed. Above LATE_S (0.5 s) they would all be late.
TURN_S = 0.4


@dataclass(frozen=True, slots=True)
class Row:
    """What one fault did to one cluster; times in virtual milliseconds, loads of the busiest router."""

    vms: int
    clients: int
    selection: str
    fault: str
    affected: int
    lost: int  # not served again within WITHIN_S
    p50_ms: float
    p99_ms: float
    max_ms: float
    connects_per_s: int  # the highest of any 100 ms, times ten
    connects: int  # in all, at all routers
    registrations_per_s: int  # the highest of any second
    wall_s: float


def measure(vms: int, selection: Literal["single", "spread"], seed: int = SEED) -> list[Row]:
    """Run one world through all faults."""
    clients = vms * CLIENTS_PER_VM
    # Clients come no faster than the routers, or with ``single`` the one master, can take them.
    one_s = delays.LOGIN_S + delays.ENTER_S if selection == "single" else delays.CONNECT_S + delays.OFFER_S * vms
    arrive_s = max(3.0 if selection == "single" else 8.0, 1.5 * clients * one_s)
    setup = Setup(
        seed=seed,
        vms=vms,
        clients=clients,
        routers=ROUTERS,
        think_s=THINK_S,
        selection=selection,
        warm_up_s=arrive_s,
        turn_s=TURN_S,
        client_hosts=min(clients, 100),
        strict=False,
    )
    world = World(setup)
    world.clock.run(arrive_s + SETTLE_S)
    rows = []
    for name, fault in FAULTS.items():
        rows.append(_live_through(world, name, fault))
        world.clock.run(world.clock.now_s + SETTLE_S)
    return rows


def _live_through(world: World, name: str, fault: Callable[[World], Sequence[str]]) -> Row:
    began, now_s = time.perf_counter(), world.clock.now_s
    ledger = world.ledger
    ledger.served_at.clear()
    ledger.arrivals.clear()
    ledger.registrations.clear()
    victims = set(fault(world))
    affected = [c for c in world.clients if c.link is not None and c.link.master.vm.name in victims]
    names = {client.name for client in affected}
    while names - ledger.served_at.keys() and world.clock.now_s < now_s + WITHIN_S:
        world.clock.run(world.clock.now_s + STEP_S)
    world.clock.run(world.clock.now_s + 1.0)
    took = sorted(1000 * (ledger.served_at[n][0] - now_s) for n in names & ledger.served_at.keys())
    return Row(
        vms=len(world.vms),
        clients=len(world.clients),
        selection=world.setup.selection,
        fault=name,
        affected=len(affected),
        lost=len(affected) - len(took),
        p50_ms=_quantile(took, 0.5),
        p99_ms=_quantile(took, 0.99),
        max_ms=_quantile(took, 1.0),
        connects_per_s=10 * max((_peak(times, 0.1) for times in ledger.arrivals.values()), default=0),
        connects=sum(len(times) for times in ledger.arrivals.values()),
        registrations_per_s=max((_peak(times, 1.0) for times in ledger.registrations.values()), default=0),
        wall_s=round(time.perf_counter() - began, 1),
    )


# --- the faults -------------------------------------------------------------------------------------------------


def _available(world: World) -> str:
    """Return the VM with the most clients: the available one, or the fullest."""
    return max(world.vms.values(), key=lambda vm: len(vm.master.links) if vm.master is not None else -1).name


def _kill_one(world: World) -> Sequence[str]:
    name = _available(world)
    _kill_master(world, name)
    return [name]


def _kill_all(world: World) -> Sequence[str]:
    for name in world.vms:
        _kill_master(world, name)
    return list(world.vms)


def _kill_master(world: World, name: str) -> None:
    for master in world.vms[name].living("master"):
        world.vms[name].kill(master, "SIGKILL")


def _power_off_a_tenth(world: World) -> Sequence[str]:
    """Take the power from a tenth of the VMs, the fullest first; they stay away."""
    load = {name: len(vm.master.links) if vm.master is not None else -1 for name, vm in world.vms.items()}
    names = sorted(load, key=lambda name: (-load[name], name))[: max(1, len(load) // 10)]
    for name in names:
        world.vms[name].crash()
    return names


FAULTS: dict[str, Callable[[World], Sequence[str]]] = {
    "available master killed": _kill_one,
    "all masters killed": _kill_all,
    "a tenth of the VMs without power": _power_off_a_tenth,
}


def _quantile(values: Sequence[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(len(values) * share))], 1) if values else 0.0


def _peak(times: Sequence[float], window_s: float) -> int:
    """Return the most events within ``window_s``."""
    peak = begin = 0
    for end, at_s in enumerate(times):
        while times[begin] <= at_s - window_s:
            begin += 1
        peak = max(peak, end - begin + 1)
    return peak


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vms", default=",".join(map(str, SIZES)), help="sizes, separated by commas")
    parser.add_argument("--selection", choices=("single", "spread"), action="append")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="write docs/scale.md and its pictures")
    parser.add_argument("--page", type=Path, help="write them from the output of an earlier --json")
    options = parser.parse_args()
    gc.set_threshold(
        200_000, 50, 100
    )  # a large world lives long; nothing in it is worth looking at again and again
    if options.page is not None:
        write_page(json.loads(options.page.read_text())["rows"])
        return 0
    rows = []
    for size in (int(each) for each in options.vms.split(",")):
        for selection in options.selection or ("single", "spread"):
            for row in measure(size, selection, options.seed):
                rows.append(asdict(row))
                print(row, file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"seed": options.seed, "rows": rows}, indent=1))
    if options.write:
        write_page(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
