"""A little of the fuzzer in every run: ``--fuzz-seconds`` says how much, ``python -m tests.fuzz`` does more."""

import pytest

from tests.fuzz.__main__ import PARTS, fuzz

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("part", PARTS)
def test_nothing_mutated_ends_or_holds_up_anybody(part: str, pytestconfig: pytest.Config) -> None:
    report = fuzz(part, seed=1, within_s=pytestconfig.getoption("--fuzz-seconds") / len(PARTS), count=0)
    print("\n".join(report.lines()))
    assert report.count > 0
    assert report.findings == []
