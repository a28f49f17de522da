"""Which ends were asked for, and which the restart budget pays for."""

from snsnode.node.process import Identity
from snsnode.pair.planned import PLANNED_S, Unwanted, is_paid

STOPPED, OTHER = Identity(1, 1, "boot"), Identity(2, 1, "boot")


def test_an_end_soon_after_a_stop_was_asked_for() -> None:
    unwanted = Unwanted(STOPPED, 10.0)
    assert unwanted.explains(STOPPED, 10.0 + PLANNED_S / 2)
    assert not unwanted.explains(STOPPED, 10.0 + PLANNED_S)
    assert not unwanted.explains(OTHER, 10.1)


def test_the_budget_pays_for_restarts_that_nobody_asked_for_and_nobody_else_made() -> None:
    assert is_paid(succeeded=False, wanted=True, planned=False)
    assert not is_paid(succeeded=True, wanted=True, planned=False)
    assert not is_paid(succeeded=False, wanted=False, planned=False)
    assert not is_paid(succeeded=False, wanted=True, planned=True)
