"""The product's pure machines, as one set that a planted bug may replace one function of."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snsnode.client import resume
from snsnode.client import retry as retries
from snsnode.client.rounds import Next
from snsnode.guard import judge as judging
from snsnode.guard import machine
from snsnode.master import standing
from snsnode.router import table
from snsnode.router.merge import merge


def after_of(progress: resume.Progress) -> int | None:
    """Return the cursor that a client sends when it opens its timeline."""
    return progress.after


def request_id_of(number: int, attempt: int) -> str:
    """Return the id of a client's post, the same for every attempt."""
    return f"r{number}"


@dataclass(frozen=True)
class Machines:
    """What decides in the simulated world."""

    pair: Callable[..., machine.Outcome] = machine.step
    judge: Callable[..., judging.Verdict] = judging.judge
    take_said: Callable[..., tuple[standing.Standing, bool]] = standing.take
    after_refusal: Callable[..., standing.Then] = standing.after_refusal
    register: Callable[..., tuple[table.Table, table.Verdict]] = table.register
    crash: Callable[..., tuple[table.Table, table.Verdict]] = table.crash
    merge: Callable[..., table.Table] = merge
    expire: Callable[[table.Table, float], table.Table] = table.expire
    retry: Callable[..., Next] = retries.step
    take: Callable[..., tuple[resume.Progress, tuple[Any, ...]]] = resume.take
    unit: Callable[[random.Random], float] = random.Random.random
    resume_after: Callable[[resume.Progress], int | None] = after_of
    request_id: Callable[[int, int], str] = request_id_of
