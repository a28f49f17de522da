"""The configurations that are searched, the ways in which a pair once stayed down, and mutations of the table."""

from dataclasses import replace

from snsnode.guard.table import TABLE
from snsnode.guard.times import SHIPPED, SHORTEST
from tests.explorer.setup import Setup

CONFIGURATIONS = (
    Setup("as shipped"),
    Setup("shortest", settings=SHORTEST, quick=False),
    Setup("interval: 60s, silence: 1h", settings=replace(SHIPPED, interval_s=60.0, silence_s=3600.0)),
    Setup("spare: false", spare=False),
    Setup("restarts wait", budget_wait_s=10.0),
)


def without(name: str, rows: set[str], faults: set[str], *, spare: bool = True) -> Setup:
    """The shipped settings without ``rows`` of the table, under ``faults`` alone."""
    unknown = rows - {row.name for row in TABLE}
    assert not unknown, unknown
    table = tuple(row for row in TABLE if row.name not in rows)
    return Setup(name, spare=spare, table=table, only=frozenset(faults))


# Each was found by a soak or a review, before there was a table: the rows are those that close the way today.
HISTORICAL = (
    (without("a master that hangs when its slave is killed", {"missing slave", "lone master", "master and spare"},
             {"master deadlocks", "slave is killed"}), 2),
    (without("both partners frozen, and no spare", {"unguarded frozen slave", "frozen slave"},
             {"master is frozen", "slave is frozen"}, spare=False), 2),
    (without("a deadlocked slave whose master and spare are killed", {"idle slave", "unmoved slave"},
             {"slave deadlocks", "master is killed", "spare is killed"}), 3),
    (without("slave and master deadlocked, the spare frozen", {"unmoved slave"},
             {"slave deadlocks", "master deadlocks", "spare is frozen"}), 3),
    (without("master and spare deadlocked, the slave killed", {"master and spare"},
             {"master deadlocks", "spare deadlocks", "slave is killed"}), 3),
    (without("a slave that is frozen before it has its lock", {"unready slave"}, {"slave is frozen"}), 1),
)  # fmt: skip
