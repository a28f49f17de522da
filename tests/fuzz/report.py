"""What a run found: counts, outcomes, the slowest, and every finding with the seed that brings it back."""

import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

TOOK_MAX_S = 2.0  # of the process's own time: what others on the machine do is no fault of ours
FINDINGS_MAX = 20
FINDING_MAX = 4_000  # characters
PROGRESS_EACH = 10_000  # mutations: a line on stderr, for who waits


@dataclass(slots=True)
class Report:
    """One part of a run."""

    part: str
    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest_seed: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def took(self, seed: int, took_s: float, outcome: str) -> None:
        """Count one mutation; one that took too long is a finding."""
        self.count += 1
        self.outcomes[outcome] += 1
        if self.count % PROGRESS_EACH == 0:
            print(f"{self.part}: {self.count} mutated, {len(self.findings)} found", file=sys.stderr, flush=True)
        if took_s > self.slowest_s:
            self.slowest_s, self.slowest_seed = took_s, seed
        if took_s > TOOK_MAX_S:
            self.found(seed, f"took {took_s:.1f} s ({outcome})")

    def found(self, seed: int, what: str) -> None:
        """Note a finding."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(f"{self.part}, seed {seed}: {what[-FINDING_MAX:]}")

    def lines(self) -> list[str]:
        """Return the report for people."""
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.most_common(12))
        slowest = f"slowest {self.slowest_s:.3f} s (seed {self.slowest_seed})"
        head = f"{self.part}: {self.count} mutated ({outcomes}); {slowest}"
        return [head, *(f"  {note}" for note in self.notes), *(f"  FOUND {finding}" for finding in self.findings)]


def attempt(report: Report, seed: int, act: Callable[[], str]) -> None:
    """Do ``act``, which returns its outcome; an exception that leaves it is a finding."""
    begun_s = time.process_time()
    try:
        outcome = act()
    except Exception:  # noqa: BLE001 - the very thing that is looked for
        outcome = "traceback"
        report.found(seed, traceback.format_exc(limit=-4))
    report.took(seed, time.process_time() - begun_s, outcome)
