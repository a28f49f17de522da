"""The configurations that are searched, the ways in which a pair once stayed down, and mutations of the table."""

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from snsnode.guard.table import TABLE, Row
from snsnode.guard.times import SHIPPED, SHORTEST
from snsnode.guard.view import View
from tests.explorer.setup import Setup

CONFIGURATIONS = (
    Setup("as shipped"),
    Setup("shortest", settings=SHORTEST, quick=False),
    Setup("interval: 60s, silence: 1h", settings=replace(SHIPPED, interval_s=60.0, silence_s=3600.0)),
    Setup("spare: false", spare=False),
    Setup("restarts wait", budget_wait_s=10.0),
)


def without(rows: set[str], *story: str, spare: bool = True) -> Setup:
    """The shipped settings without ``rows`` of the table; the faults of ``story`` strike in this order."""
    unknown = rows - {row.name for row in TABLE}
    assert not unknown, unknown
    table = tuple(row for row in TABLE if row.name not in rows)
    return Setup("; then ".join(story), spare=spare, table=table, story=story)


# Each was found by a soak or a review, before there was a table; the last by the explorer. The rows are those that
# close the way today.
HISTORICAL = {
    "a master that hangs when its slave is killed": without(
        {"missing slave", "lone master", "master and spare"}, "master deadlocks", "slave is killed"
    ),
    "both partners frozen, and no spare": without(
        {"unguarded frozen slave", "frozen slave"}, "master is frozen", "slave is frozen", spare=False
    ),
    "a deadlocked slave whose master and spare are killed": without(
        {"idle slave", "unmoved slave"}, "slave deadlocks", "master is killed", "spare is killed"
    ),
    "slave and master deadlocked, the spare frozen": without(
        {"unmoved slave"}, "spare is frozen", "master deadlocks", "slave deadlocks"
    ),
    "master and spare deadlocked, the slave killed": without(
        {"master and spare"}, "spare deadlocks", "master deadlocks", "slave is killed"
    ),
    "a slave that is frozen before it has its lock": without({"unready slave"}, "slave is frozen"),
}


def _changed(name: str, **changes: Any) -> tuple[Row, ...]:
    """Return the table with one row changed."""
    assert name in {row.name for row in TABLE}, name
    return tuple(replace(row, **changes) if row.name == name else row for row in TABLE)


def _holds(row: str, view: View) -> Hashable | None:
    return next(each for each in TABLE if each.name == row).holds(view)


def _missing_slave_that_may_be_starting(view: View) -> Hashable | None:
    """Overlook a slave that has not announced itself."""
    return _holds("missing slave", replace(view, slave=replace(view.slave, taken=False)))


def _dead_pair_without_asking_the_operator(view: View) -> Hashable | None:
    return _holds("dead pair", replace(view, wanted=frozenset({"slave", "master"})))


def _silent_slave_that_was_not_asked(view: View) -> Hashable | None:
    return view.ours if view.ours == view.slave.identity and not view.alone else None


def _unmoved_slave_without_its_counter(view: View) -> Hashable | None:
    return view.slave.identity if _holds("unmoved slave", view) is not None else None


def _mutated(*story: str, table: tuple[Row, ...], **how: Any) -> Setup:
    return Setup("; then ".join(story) or "no fault", table=table, story=story, **how)


# Each changes one row of the table, or takes it away; the search finds what comes of it.
MUTATIONS = {
    "a spare ends a slave without asking it": _mutated(
        table=_changed("silent slave", holds=_silent_slave_that_was_not_asked)
    ),
    "supervisord ends a slave whose counter moves": _mutated(
        table=_changed("unmoved slave", holds=_unmoved_slave_without_its_counter)
    ),
    "supervisord calls a slave idle before its master had time to start": _mutated(
        table=_changed("idle slave", patience_s=lambda _: 0.5), spare=False
    ),
    "a spare launches a slave although one is starting": _mutated(
        "slave is killed",
        table=_changed("missing slave", holds=_missing_slave_that_may_be_starting, patience_s=lambda _: 0.0),
    ),
    "supervisord launches a pair that is stopped": _mutated(
        "stop both", table=_changed("dead pair", holds=_dead_pair_without_asking_the_operator), orders=True
    ),
    "supervisord launches nothing into a dead pair": _mutated(
        "master is killed",
        "slave is killed",
        table=tuple(row for row in TABLE if row.name != "dead pair"),
        spare=False,
    ),
    "a frozen spare that is left alone stays": _mutated(
        "spare is frozen",
        "slave is killed",
        "master is killed",
        table=tuple(row for row in TABLE if row.name not in ("frozen lone spare", "lone spare")),
    ),
}
