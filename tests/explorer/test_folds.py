"""Folded and unfolded, a search comes to the same verdict and bound, and sees the same things happen."""

from dataclasses import replace

import pytest

from tests.explorer.configurations import CONFIGURATIONS, HISTORICAL
from tests.explorer.search import search
from tests.explorer.setup import FOLDS, Setup

WITHIN_S = 600.0  # a bound; each takes some seconds

NO_SPARE = next(setup for setup in CONFIGURATIONS if setup.name == "spare: false")
WHOLE = next(setup for setup in CONFIGURATIONS if setup.name == "as shipped")
STARVED = replace(WHOLE, only=frozenset({"slave gets no CPU for 2 s", "master waits 5 s for its disk"}))
BROKEN = HISTORICAL["both partners frozen, and no spare"]
VERDICTS = [(NO_SPARE, 1), (WHOLE, 1), (STARVED, 2), (BROKEN, 2)]


def _verdict(setup: Setup, faults: int) -> tuple[bool, str | None, float, frozenset[str]]:
    report = search(setup, faults, within_s=WITHIN_S)
    return report.finished, report.found.what if report.found else None, report.bound_s, report.said


@pytest.mark.parametrize(("setup", "faults"), VERDICTS, ids=lambda value: getattr(value, "name", str(value)))
def test_search_comes_to_the_same_verdict_without_folds(setup: Setup, faults: int) -> None:
    assert _verdict(setup, faults) == _verdict(replace(setup, folds=frozenset()), faults)


@pytest.mark.parametrize("fold", sorted(FOLDS))
def test_search_comes_to_the_same_verdict_with_one_fold(fold: str) -> None:
    assert _verdict(NO_SPARE, 1) == _verdict(replace(NO_SPARE, folds=frozenset({fold})), 1)


KINDS = [
    *[f"{role} {what}" for role in ("slave", "master") for what in ("is killed", "is frozen", "deadlocks")],
    *[
        f"{role} {what}"
        for role in ("slave", "master")
        for what in ("gets no CPU for 2 s", "waits 5 s for its disk")
    ],
    "master has its event loop blocked",
    "supervisord is killed",
    "supervisord is frozen",
]


@pytest.mark.parametrize("fault", KINDS)
def test_search_of_one_kind_of_fault_sees_the_same_without_folds(fault: str) -> None:
    """Of each kind alone: what one kind's fold loses, another kind might still show."""
    setup = replace(NO_SPARE, story=(fault,))
    assert _verdict(setup, 1) == _verdict(replace(setup, folds=frozenset()), 1)
