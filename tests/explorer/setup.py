"""One configuration of a pair, and the rules that are tried on it."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

from snsnode.guard import machine, times
from snsnode.guard.judge import Verdict
from snsnode.guard.machine import Rules
from snsnode.guard.table import TABLE, Row
from snsnode.guard.times import Times
from snsnode.guard.view import Me

FOLDS = frozenset({"ages", "husks", "late", "well"})


@dataclass(frozen=True)
class Setup:
    """One configuration of a pair, and the rules that are tried."""

    name: str
    settings: Times = times.SHIPPED
    spare: bool = True
    budget_wait_s: float = 0.0  # each restart waits for so long
    quick: bool = True  # one fault is searched within seconds
    only: frozenset[str] = frozenset()  # the faults that may come, as "master is killed"; empty: all of them
    story: tuple[str, ...] = ()  # the faults in this order, each at any moment; empty: in any order
    orders: bool = False  # an operator may stop, start, pause, resume and shut down
    known: bool = True  # pass by the known gap: a child that outlives a shutdown (docs/reliability.md)
    table: tuple[Row, ...] = TABLE
    folds: frozenset[str] = FOLDS
    step: Callable[..., machine.Outcome] = machine.step

    @cached_property
    def cap_s(self) -> float:
        """One second more than the largest age that any rule compares."""
        rows = max(row.patience_s(self.settings) for row in self.table)
        return max(rows, machine.SILENCE_MIN_S, self.settings.silence_s, self.settings.first_beat_s) + 1.0

    @cached_property
    def well_cap_s(self) -> float:
        """Beyond it, it does not matter for how long a process has been well."""
        return self.cap_s / 2 + 1.0 if "ages" in self.folds else self.cap_s

    @cached_property
    def row_caps_s(self) -> dict[str, float]:
        """Beyond it, it does not matter for how long a row of the table has held."""
        return {r.name: r.patience_s(self.settings) if "ages" in self.folds else self.cap_s for r in self.table}

    @cached_property
    def verdicts(self) -> dict[Hashable, Verdict]:
        """What the judge has said so far."""
        return {}

    @cached_property
    def outcomes(self) -> dict[Hashable, machine.Outcome]:
        """What the partners' machine has done so far."""
        return {}

    @cached_property
    def rows_of(self) -> dict[Me, tuple[Row, ...]]:
        """Each observer's rows: the judge passes over all others."""
        return {me: tuple(row for row in self.table if row.me is me) for me in Me}

    @cached_property
    def _rules(self) -> tuple[Rules, Rules]:
        return Rules.of(self.settings, sends=False), Rules.of(self.settings, sends=True)

    def may_strike(self, fault: str, nth: int) -> bool:
        if self.story:
            return fault == self.story[nth]
        return not self.only or fault in self.only

    def rules(self, *, sends: bool) -> Rules:
        return self._rules[sends]
