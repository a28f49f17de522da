"""A launch waits as the budget says, is asked for once, and is void when the judge wants it no more."""

from snsnode.guard.judge import Action
from snsnode.guard.plan import Plan, follow
from snsnode.guard.table import Act
from snsnode.guard.view import Place

LAUNCH = Action(Act.LAUNCH_SLAVE, Place.SLAVE, "the slave is missing", "missing slave")
RESCUE = Action(Act.RESCUE, Place.MASTER, "both died", "dead partners")


class Purse:
    """A budget that notes what was asked for."""

    def __init__(self, wait_s: float) -> None:
        self.asked: list[Act] = []
        self._wait_s = wait_s

    def __call__(self, action: Action) -> float:
        self.asked.append(action.act)
        return self._wait_s


def test_a_launch_that_need_not_wait_is_done_at_once() -> None:
    assert follow(None, LAUNCH, 5.0, Purse(0.0)) == (None, True)


def test_a_launch_that_must_wait_is_paid_for_once() -> None:
    purse = Purse(2.0)
    plan, is_due = follow(None, LAUNCH, 5.0, purse)
    assert (plan, is_due) == (Plan(Act.LAUNCH_SLAVE, 7.0), False)
    assert follow(plan, LAUNCH, 6.9, purse) == (plan, False)
    assert follow(plan, LAUNCH, 7.0, purse) == (None, True)
    assert purse.asked == [Act.LAUNCH_SLAVE]


def test_a_launch_that_is_not_wanted_any_more_is_void() -> None:
    purse = Purse(2.0)
    plan, _ = follow(None, LAUNCH, 5.0, purse)
    assert follow(plan, None, 7.0, purse) == (None, False)


def test_another_act_is_another_plan() -> None:
    purse = Purse(2.0)
    plan, _ = follow(None, LAUNCH, 5.0, purse)
    assert follow(plan, RESCUE, 7.0, purse) == (Plan(Act.RESCUE, 9.0), False)
    assert purse.asked == [Act.LAUNCH_SLAVE, Act.RESCUE]
