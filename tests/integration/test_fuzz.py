"""A little of the fuzzer in every run: ``--fuzz-seconds`` says how much, ``python -m tests.fuzz`` does more."""

import pytest

from tests.fuzz.__main__ import PARTS, fuzz

pytestmark = pytest.mark.integration

LEAST_S = 3.0  # on a busy machine the first mutation alone may take a second


@pytest.mark.parametrize("part", PARTS)
def test_nothing_mutated_ends_or_holds_up_anybody(part: str, pytestconfig: pytest.Config) -> None:
    within_s = max(LEAST_S, pytestconfig.getoption("--fuzz-seconds") / len(PARTS))
    report = fuzz(part, seed=1, within_s=within_s, count=0)
    print("\n".join(report.lines()))
    assert report.count > 0
    assert report.findings == []
