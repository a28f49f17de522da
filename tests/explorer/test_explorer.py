"""Every state that faults and orders can lead to finds its way back; broken tables are found out.

One fault at any moment for every quick configuration, one fault or order for two of them, and two faults for the
same two. More is searched by hand: ``python -m tests.explorer --faults 2``.
"""

from dataclasses import replace

import pytest

from snsnode.guard.table import TABLE
from tests.explorer.configurations import CONFIGURATIONS, HISTORICAL, MUTATIONS
from tests.explorer.search import Report, search, told
from tests.explorer.setup import Setup

BACK_WITHIN_S = 60.0
LONG_SILENCE_S = 7300.0  # twice an hour, and a start
WITHIN_S = 1500.0  # a bound; the longest takes about a minute of CPU

QUICK = [setup for setup in CONFIGURATIONS if setup.quick]
TWICE = [setup for setup in QUICK if setup.name in ("as shipped", "spare: false")]
ORDERED = [replace(setup, orders=True) for setup in TWICE]
SEARCHED = [
    *[pytest.param(setup, 1, id=setup.name) for setup in QUICK],
    *[pytest.param(setup, 1, id=f"{setup.name}, with orders") for setup in ORDERED],
    *[
        pytest.param(
            setup, 2, id=f"{setup.name}, two", marks=[pytest.mark.chaos_long] * (setup.name == "as shipped")
        )
        for setup in TWICE
    ],
]
BROKEN = [pytest.param(setup, id=name) for name, setup in (HISTORICAL | MUTATIONS).items()]


def _whole(report: Report) -> None:
    assert report.found is None, f"{report.found.what}:\n{told(report.found.story)}"
    assert report.finished, "the search was not finished"


@pytest.mark.parametrize(("setup", "count"), SEARCHED)
def test_pair_is_as_wanted_again_after_whatever_strikes_at_any_moment(setup: Setup, count: int) -> None:
    report = search(setup, count, within_s=WITHIN_S)
    _whole(report)
    assert report.bound_s <= (LONG_SILENCE_S if "1h" in setup.name else BACK_WITHIN_S), told(report.slowest)


@pytest.mark.parametrize("setup", BROKEN)
def test_table_that_lacks_a_row_or_has_a_wrong_one_is_found_out(setup: Setup) -> None:
    report = search(setup, len(setup.story), within_s=WITHIN_S)
    assert report.found is not None, "nothing was found"
    _whole(search(replace(setup, table=TABLE), len(setup.story), within_s=WITHIN_S))
