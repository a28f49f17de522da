"""One fault at any moment: every state finds its way back; ways in which a pair stayed down are found again."""

import pytest

from tests.explorer.configurations import CONFIGURATIONS, HISTORICAL
from tests.explorer.search import search, told
from tests.explorer.setup import Setup

BACK_WITHIN_S = 60.0
LONG_SILENCE_S = 7300.0  # twice an hour, and a start
WITHIN_S = 600.0  # a bound; one fault takes some seconds, three take minutes


@pytest.mark.parametrize("setup", [each for each in CONFIGURATIONS if each.quick], ids=lambda setup: setup.name)
def test_pair_serves_again_after_any_fault_at_any_moment(setup: Setup) -> None:
    report = search(setup, 1, within_s=WITHIN_S)
    assert report.found is None, told(report.found.story)
    assert report.finished, "the search was not finished"
    assert report.bound_s <= (LONG_SILENCE_S if "1h" in setup.name else BACK_WITHIN_S), told(report.slowest)


def _param(setup: Setup, faults: int) -> object:
    marks = [pytest.mark.chaos_long] if faults > 2 else []  # three faults take minutes
    return pytest.param(setup, faults, id=setup.name, marks=marks)


@pytest.mark.parametrize(("setup", "faults"), [_param(*each) for each in HISTORICAL])
def test_way_in_which_a_pair_stayed_down_is_found_where_its_rows_are_taken_away(setup: Setup, faults: int) -> None:
    report = search(setup, faults, within_s=WITHIN_S)
    assert report.found is not None, "nothing was found"
    whole = search(Setup("whole", spare=setup.spare, only=setup.only), faults, within_s=WITHIN_S)
    assert whole.found is None and whole.finished
