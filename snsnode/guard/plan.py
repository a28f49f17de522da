"""A launch that the judge wants, and when the restart budget allows it. Pure, but for the budget that is asked.

The budget is asked once for each plan. A plan is void as soon as a look finds that the judge wants it no more.
"""

from collections.abc import Callable
from dataclasses import dataclass

from snsnode.guard.judge import Action
from snsnode.guard.table import Act


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and from when on the budget allows it; monotonic seconds."""

    act: Act
    at_s: float


def follow(
    plan: Plan | None, wanted: Action | None, now_s: float, withdraw: Callable[[Action], float]
) -> tuple[Plan | None, bool]:
    """Return the plan after a look at which the judge wanted ``wanted``, and whether that is to be done now.

    ``withdraw`` spends one restart and returns the seconds to wait before it.
    """
    if wanted is None:
        return None, False
    if plan is None or plan.act is not wanted.act:
        plan = Plan(wanted.act, now_s + withdraw(wanted))
    return (None, True) if now_s >= plan.at_s else (plan, False)
