"""The table: which process is stuck, which observer may act on it, after how long, and what it does.

A row's ``holds`` is its evidence. It returns what the condition is about (a process, or a process and its
counter), so that a condition that goes on with *another* process begins anew; None where the condition does not
hold, or the evidence is missing. The partners' verdicts on each other are in ``machine``: they also rest on
KeepAlive, whose answers come between looks.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum

from snsnode.guard import times
from snsnode.guard.times import Times
from snsnode.guard.view import Me, Place, View


class Act(Enum):
    """What an observer does about it."""

    END = "end"  # SIGKILL, of exactly the process that was seen
    LAUNCH_SLAVE = "launch a slave"  # a slave judges all others; it is the only one that supervisord launches
    RESCUE = "become the master"  # a spare alone can
    LEAVE = "leave"  # a spare that is not needed


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``place`` is where the process is that is ended, or where one is missing."""

    name: str
    me: Me
    place: Place
    act: Act
    holds: Callable[[View], Hashable | None]
    patience_s: Callable[[Times], float]
    cause: str  # the journal's words
    why: str


FROZEN = "stopped (state T)"
SILENT = "fell silent"


# --- the evidence: what a slave sees of spares ------------------------------------------------------------------


def _useless_spare(view: View) -> Hashable | None:
    """A frozen spare can take nobody's place. While it holds the lock, no second spare can start."""
    needed = "master" in view.wanted and view.master.identity is not None and view.dismissed is None
    return view.spare.identity if needed and view.spare.is_frozen else None


def _strange_spare(view: View) -> Hashable | None:
    """A spare that another slave launched: it leaves as soon as it sees a new slave."""
    needed = "master" in view.wanted and view.master.identity is not None and view.dismissed is None
    strange = view.spare.identity != view.ours and not view.spare.is_traced
    return view.spare.identity if needed and strange else None


def _sent_spare(view: View) -> Hashable | None:
    """The spare was sent in, and nobody is the master yet: a deadlocked spare looks as ready as any other."""
    return view.sent if view.master.known and view.master.identity is None else None


def _unready(view: View) -> Hashable | None:
    """A child that does not get as far as its lock: it was stopped, or hangs, while it started."""
    return view.born


def _dismissed_spare(view: View) -> Hashable | None:
    return view.dismissed


# --- what a spare sees ------------------------------------------------------------------------------------------


def _silent_slave(view: View) -> Hashable | None:
    asked = view.ours is not None and view.slave.identity == view.ours and view.slave.answers is False
    return view.ours if asked and not view.alone and "slave" in view.wanted and not view.slave.is_traced else None


def _is_alone(view: View) -> bool:
    """Our slave is dead, and nobody has taken its place. Its line ends before the kernel calls it dead."""
    return view.alone and view.slave.known and view.slave.identity in (None, view.ours)


def _unneeded(view: View) -> Hashable | None:
    """A new slave has a spare of its own; and what an operator stopped needs none."""
    replaced = view.slave.identity is not None and view.slave.identity != view.ours
    return "unneeded" if view.alone and (view.leaving or replaced) else None


def _missing_slave(view: View) -> Hashable | None:
    launchable = _is_alone(view) and "slave" in view.wanted and not view.waits and not view.slave.taken
    return view.master.identity if launchable else None


def _dead_partners(view: View) -> Hashable | None:
    return "both" if _is_alone(view) and view.master.is_empty and "master" in view.wanted else None


# --- what supervisord sees --------------------------------------------------------------------------------------


def _frozen_slave(view: View) -> Hashable | None:
    if "slave" not in view.wanted or view.is_traced or not view.slave.is_frozen:
        return None
    return view.slave.identity


def _unguarded_frozen_slave(view: View) -> Hashable | None:
    """The master is dead or frozen too, and there is no spare: no observer that could end the slave can act."""
    master_cannot = view.master.is_frozen or (view.master.known and view.master.identity is None)
    return _frozen_slave(view) if master_cannot and view.spare.known and view.spare.identity is None else None


def _unmoved_slave(view: View) -> Hashable | None:
    """Its event loop does not turn. A frozen slave is another row's; one in state D waits for its disk."""
    slave = view.slave
    if "slave" not in view.wanted or view.is_traced or slave.letter in ("T", "D") or slave.progress is None:
        return None
    return slave.identity, slave.progress


def _idle_slave(view: View) -> Hashable | None:
    """It may launch a master, nobody waits, and there is neither a master nor a spare.

    In state D it waits for a disk, and gives what it launched a whole start's time again when it goes on.
    """
    if view.wanted != {"slave", "master"} or view.waits or view.slave.letter in ("T", "t", "D"):
        return None
    return view.slave.identity if view.master.is_empty and view.spare.is_empty else None


def _launchable(view: View) -> bool:
    return "slave" in view.wanted and not view.waits and view.slave.is_empty


def _dead_pair(view: View) -> Hashable | None:
    return "all" if _launchable(view) and view.master.is_empty and view.spare.is_empty else None


def _lone_master(view: View) -> Hashable | None:
    alone = _launchable(view) and view.master.taken and view.spare.is_empty
    return (view.master.identity or "unannounced") if alone else None


def _lone_frozen_master(view: View) -> Hashable | None:
    return _lone_master(view) if view.master.is_frozen else None


def _master_and_spare(view: View) -> Hashable | None:
    both = _launchable(view) and view.master.taken and view.spare.taken
    return (view.master.identity, view.spare.identity) if both else None


def _lone_spare(view: View) -> Hashable | None:
    alone = _launchable(view) and view.master.is_empty and not view.spare.is_traced
    return view.spare.identity if alone else None


def _frozen_lone_spare(view: View) -> Hashable | None:
    """It can neither rescue anybody nor leave, and keeps supervisord from the rescue."""
    return view.spare.identity if view.spare.is_frozen and view.slave.is_empty else None


def _now(_: Times) -> float:
    return 0.0


_SLAVE, _SPARE, _SUPERVISORD = Me.SLAVE, Me.SPARE, Me.SUPERVISORD

TABLE: tuple[Row, ...] = (
    Row(
        "frozen spare",
        _SLAVE,
        Place.SPARE,
        Act.END,
        _useless_spare,
        lambda _: times.TICK_S,
        FROZEN,
        "two looks at state T; a new spare is ready a moment later",
    ),
    Row(
        "strange spare",
        _SLAVE,
        Place.SPARE,
        Act.END,
        _strange_spare,
        lambda _: times.STRANGER_S,
        "does not leave",
        "an orphan sees the new slave within two looks, so one that stays hangs",
    ),
    Row(
        "sent spare",
        _SLAVE,
        Place.SPARE,
        Act.END,
        _sent_spare,
        lambda _: times.TAKES_OVER_S,
        "was sent in and does not take over",
        "a spare takes the master's lock within milliseconds",
    ),
    Row(
        "dismissed spare",
        _SLAVE,
        Place.SPARE,
        Act.END,
        _dismissed_spare,
        lambda _: times.SEND_OFF_S,
        "was asked to leave and stays",
        "a spare that hears leaves at once",
    ),
    Row(
        "unready spare",
        _SLAVE,
        Place.SPARE,
        Act.END,
        _unready,
        lambda _: times.START_S,
        "did not become ready in time",
        "until it has announced itself, only its parent can find it",
    ),
    Row(
        "unneeded spare",
        _SPARE,
        Place.SPARE,
        Act.LEAVE,
        _unneeded,
        _now,
        "not needed any more",
        "a new slave has a spare of its own",
    ),
    Row(
        "silent slave",
        _SPARE,
        Place.SLAVE,
        Act.END,
        _silent_slave,
        lambda t: t.spare_s,
        SILENT,
        "the master would have ended it an interval before: it is dead or hangs as well",
    ),
    Row(
        "missing slave",
        _SPARE,
        Place.SLAVE,
        Act.LAUNCH_SLAVE,
        _missing_slave,
        lambda t: t.partner_s,
        "the master launches no slave",
        "a master that works launches a slave at once",
    ),
    Row(
        "unready slave of a spare",
        _SPARE,
        Place.SLAVE,
        Act.END,
        _unready,
        lambda _: times.START_S,
        "did not become ready in time",
        "until it has announced itself, only its parent can find it",
    ),
    Row(
        "dead partners",
        _SPARE,
        Place.MASTER,
        Act.RESCUE,
        _dead_partners,
        _now,
        "master and slave died",
        "the kernel says so: both locks are free",
    ),
    Row(
        "unready slave",
        _SUPERVISORD,
        Place.SLAVE,
        Act.END,
        _unready,
        lambda _: times.START_S,
        "did not become ready in time",
        "until it has announced itself, only its parent can find it",
    ),
    Row(
        "idle slave",
        _SUPERVISORD,
        Place.SLAVE,
        Act.END,
        _idle_slave,
        lambda t: max(times.IDLE_S, t.waited_out_s),
        "it launches no master",
        "a launch has come to an end by then, one way or the other, and the longest wait of the budget too",
    ),
    Row(
        "unmoved slave",
        _SUPERVISORD,
        Place.SLAVE,
        Act.END,
        _unmoved_slave,
        lambda t: t.supervisord_s,
        "it does not move",
        "master and spare would have ended it long before: both are unable to act",
    ),
    Row(
        "unguarded frozen slave",
        _SUPERVISORD,
        Place.SLAVE,
        Act.END,
        _unguarded_frozen_slave,
        lambda t: t.partner_s,
        FROZEN,
        "master and spare are seen unable to act, so supervisord stands in for them",
    ),
    Row(
        "frozen slave",
        _SUPERVISORD,
        Place.SLAVE,
        Act.END,
        _frozen_slave,
        lambda t: t.supervisord_s,
        FROZEN,
        "whoever could act has not: all three may have been frozen as one",
    ),
    Row(
        "frozen lone spare",
        _SUPERVISORD,
        Place.SPARE,
        Act.END,
        _frozen_lone_spare,
        _now,
        FROZEN,
        "a frozen spare can neither rescue the pair nor leave",
    ),
    Row(
        "lone spare",
        _SUPERVISORD,
        Place.SPARE,
        Act.END,
        _lone_spare,
        lambda t: t.waited_out_s,
        "it rescues nobody",
        "a spare rescues at once, after a wait at most, which a full disk keeps from being written down",
    ),
    Row(
        "dead pair",
        _SUPERVISORD,
        Place.SLAVE,
        Act.LAUNCH_SLAVE,
        _dead_pair,
        _now,
        "the whole pair was dead",
        "the kernel says so: all three locks are free",
    ),
    Row(
        "lone frozen master",
        _SUPERVISORD,
        Place.SLAVE,
        Act.LAUNCH_SLAVE,
        _lone_frozen_master,
        lambda _: times.SUPERVISORD_TICK_S,
        "the master launches no slave",
        "a frozen master launches nobody; the new slave judges it",
    ),
    Row(
        "lone master",
        _SUPERVISORD,
        Place.SLAVE,
        Act.LAUNCH_SLAVE,
        _lone_master,
        lambda _: times.LAST_RESORT_S,
        "the master launches no slave",
        "a master that works launches a slave at once; only a slave can tell that it hangs",
    ),
    Row(
        "master and spare",
        _SUPERVISORD,
        Place.SLAVE,
        Act.LAUNCH_SLAVE,
        _master_and_spare,
        lambda t: t.supervisord_s,
        "the master launches no slave",
        "the spare would have launched a slave after the silence: it hangs as well",
    ),
)
