"""Run the simulator by hand: python -m tests.simulation --seed S [--vms N] [--clients M] [--routers R] …

Prints what came of each seed; of one that fails, the invariant, the shortest schedule that still fails, and the
end of the trace. The same arguments print the same, on any machine. Exit 0: no seed failed; 1: one did.
"""

import argparse
import sys
from dataclasses import replace

from tests.simulation.faults import Fault
from tests.simulation.machines import Machines
from tests.simulation.planted import BUGS
from tests.simulation.shrink import shrink
from tests.simulation.world import Result, Setup, run, settings_of

TRACE_LINES = 60
_DEFAULT = Setup()


def main() -> int:
    """Run the seeds that were asked for."""
    options = _options()
    machines = next((bug.machines for bug in BUGS if bug.name == options.bug), Machines())
    setup = Setup(
        vms=options.vms,
        clients=options.clients,
        routers=options.routers,
        seconds=options.seconds,
        selection=options.selection,
        fault_every_s=options.every,
    )
    for seed in range(options.seed, options.seed + options.seeds):
        result = run(replace(setup, seed=seed), machines=machines)
        if result.violation is not None:
            _tell(result, machines)
            return 1
        print(f"seed {seed}: {_counts(result)}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="so many, from --seed on, until one fails")
    parser.add_argument("--vms", type=int, default=_DEFAULT.vms)
    parser.add_argument("--clients", type=int, default=_DEFAULT.clients)
    parser.add_argument("--routers", type=int, default=_DEFAULT.routers)
    parser.add_argument("--seconds", type=float, default=_DEFAULT.seconds, help="virtual, while faults happen")
    parser.add_argument(
        "--every", type=float, default=_DEFAULT.fault_every_s, help="seconds between faults, on average"
    )
    parser.add_argument("--selection", choices=("single", "spread"), default=_DEFAULT.selection)
    parser.add_argument("--bug", choices=[bug.name for bug in BUGS], help="plant this bug")
    return parser.parse_args()


def _counts(result: Result) -> str:
    return (
        f"{len(result.faults)} faults, {result.steps} events, {result.posts} posts, "
        f"{result.shown} shown, {result.failed_calls} calls out of time"
    )


def _tell(result: Result, machines: Machines) -> None:
    print(f"seed {result.setup.seed}: {_counts(result)}")
    print(f"FAILED {result.violation}")
    kind = kind_of(result)

    def fails(faults: list[Fault]) -> bool:
        return kind_of(run(result.setup, faults, machines)) == kind

    shortest = shrink(result.faults, fails)
    again = run(result.setup, shortest, machines)
    print(f"\nthe shortest schedule found, {len(shortest)} of {len(result.faults)} faults:")
    for fault in shortest:
        print(f"  {fault}")
    print(f"with it: {again.violation}\n\nthe end of its trace:")
    for line in again.trace[-TRACE_LINES:]:
        print(line)
    print(f"\nrepeat: python -m tests.simulation {settings_of(result.setup)}")


def kind_of(result: Result) -> str | None:
    """Return the violation without its times, names and numbers: what a shorter schedule must break as well."""
    if result.violation is None:
        return None
    words = result.violation.partition(": ")[2].split()
    return " ".join(word for word in words if not any(character.isdigit() for character in word))


if __name__ == "__main__":
    sys.exit(main())
