"""Fuzz the readers and the roles: python -m tests.fuzz --minutes N [--seed S] [--only messages,specs,files].

hypothesis draws the seeds of the mutations; with ``--engine atheris``, where that is installed, coverage guides
them. The time is divided evenly among the parts, and what one leaves of its share is for the next ones. ``--seed``
and ``--once`` bring one finding back. Exit code 1 where something was found.
"""

import argparse
import importlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import running
from tests.fuzz import files, messages, specs
from tests.fuzz.report import Report

PARTS = ("specs", "files", "specs by command", "files by command", "messages")
_MEMORY = Path("/dev/shm")
COMMANDS_SHARE = 250  # of a part's mutations by a command, where the number is given


def main() -> int:
    """Run the parts and print what was found."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    wanted = [part for part in PARTS if not options.only or part.split()[0] in options.only.split(",")]
    print(f"seed {seed}, parts: {', '.join(wanted)}", flush=True)
    found = 0
    until_s = time.monotonic() + options.minutes * 60
    for number, part in enumerate(wanted):
        share_s = max(0.0, until_s - time.monotonic()) / (len(wanted) - number)
        report = fuzz(part, seed, share_s, options.count, options.engine, once=options.once)
        print("\n".join(report.lines()), flush=True)
        found += len(report.findings)
    return 1 if found else 0


def fuzz(
    part: str, seed: int, within_s: float, count: int, engine: str = "hypothesis", *, once: bool = False
) -> Report:
    """Run one part for ``within_s`` or ``count`` mutations, whichever ends first."""
    report = Report(part)
    if part.endswith("by command"):
        count = min(count, COMMANDS_SHARE) if count else 0
    with _workbench(part, report) as one:
        until_s = time.monotonic() + within_s  # what is set up first does not count
        if part == "messages":
            with running(keepalive="{interval: 1s, timeout: 0.5s, silence: 3s}") as cluster:
                seeds = [seed] if once else _seeds(seed, count)
                messages.run(report, seeds, within_s, cluster)
        elif once:
            one(seed)
        elif engine == "atheris":
            _by_atheris(one, until_s)
        else:
            _by_hypothesis(one, seed, until_s, count)
    return report


@contextmanager
def _workbench(part: str, report: Report) -> Iterator[Callable[[int], None]]:
    """Yield what does one mutation of ``part`` by its seed."""
    # Where nothing reaches a disk: an fsync each would be most of the time.
    memory = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sns-", dir=memory) as name, files.silenced():
        folder = Path(name)
        if part == "specs":
            yield lambda seed: specs.in_process(report, seed, folder)
        elif part == "specs by command":
            yield lambda seed: specs.by_command(report, seed, folder)
        elif part.startswith("files"):
            home = files.Home(folder)
            act = files.in_process if part == "files" else files.by_command
            yield lambda seed: act(report, seed, home)
        else:
            yield lambda seed: None


def _seeds(seed: int, count: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(2**32) for _ in range(count or 10**6)]


def _by_hypothesis(one: Callable[[int], None], seed: int, until_s: float, count: int) -> None:
    """Let hypothesis draw seeds, in rounds until the time is over."""
    import hypothesis
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    done = 0

    def act(drawn: int) -> None:
        nonlocal done
        if time.monotonic() < until_s and (not count or done < count):
            done += 1
            one(drawn)

    number = 0
    while time.monotonic() < until_s and (not count or done < count):
        round_of = settings(
            max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        hypothesis.seed(seed + number)(round_of(given(st.integers(0, 2**64 - 1))(act)))()
        number += 1


def _by_atheris(one: Callable[[int], None], until_s: float) -> None:
    """Let atheris look for seeds that reach new code; it ends the process itself."""
    atheris: Any = importlib.import_module("atheris")  # which most machines lack

    def act(drawn: bytes) -> None:
        one(int.from_bytes(drawn[:8], "little"))

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={int(until_s - time.monotonic())}"], act)
    atheris.Fuzz()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="in all (default: 1)")
    parser.add_argument("--count", type=int, default=0, help="mutations of each part at most; 0: as time allows")
    parser.add_argument("--seed", type=int, help="of the whole run, or with --once of one mutation")
    parser.add_argument("--once", action="store_true", help="do the one mutation that --seed names")
    parser.add_argument("--only", default="", help="specs, files, messages: those alone, by commas")
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
