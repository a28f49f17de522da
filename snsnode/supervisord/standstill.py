"""When supervisord ends a frozen slave: only where nobody else can do it, or did. Pure.

Called by ``guards`` on each turn of supervisord's loop. A slave in state T is its master's to replace, within
tenths of a second, or else its spare's, after the silence. Where the master is frozen or dead too and no spare
lives, nobody is left to judge the pair; then the slave's end is what brings a new one, which judges the master.
"""

from dataclasses import dataclass

LATE_S = 3.0  # supervisord's loop turns once a second at least: a later look says that it did not run itself
GUARDS_S = 12.0  # whoever guards a slave that hangs, and can act, has acted long before


@dataclass(frozen=True, slots=True)
class Lasting:
    """For how long every look has found the same ``what``; None is nothing. Times are monotonic seconds."""

    what: object = None
    since_s: float = 0.0
    looked_s: float = 0.0

    def look(self, what: object, now_s: float) -> "Lasting":
        """Return what to remember of this look; where we were away, what we remember is no evidence."""
        same = what == self.what and now_s - self.looked_s <= LATE_S
        return Lasting(what, self.since_s if same else now_s, now_s)

    @property
    def for_s(self) -> float:
        """The seconds; 0 for nothing."""
        return 0.0 if self.what is None else self.looked_s - self.since_s


@dataclass(frozen=True, slots=True)
class Letters:
    """The states of a pair's processes by /proc/PID/stat (proc(5)); None where there is no such process."""

    slave: str | None
    master: str | None
    spare: str | None

    @property
    def is_traced(self) -> bool:
        """A debugger holds one of them: its owner knows."""
        return "t" in (self.slave, self.master, self.spare)

    @property
    def is_unguarded(self) -> bool:
        """Neither master nor spare can act on the slave."""
        return self.master in (None, "T") and self.spare is None


@dataclass(frozen=True, slots=True)
class Standstill:
    """Since when all looks found the slave frozen, and since when also unguarded; None: the last one did not.

    Times are monotonic seconds.
    """

    frozen_s: float | None = None
    unguarded_s: float | None = None
    looked_s: float = 0.0


def look(before: Standstill, seen: Letters, now_s: float, silence_s: float) -> tuple[Standstill, bool]:
    """Return what to remember of this look, and whether to end the slave now."""
    if seen.slave != "T" or seen.is_traced:
        return Standstill(looked_s=now_s), False
    if now_s - before.looked_s > LATE_S:  # we were away; what we remember is no evidence
        before = Standstill()
    frozen_s = now_s if before.frozen_s is None else before.frozen_s
    unguarded_s = None
    if seen.is_unguarded:
        unguarded_s = now_s if before.unguarded_s is None else before.unguarded_s
    # A spare that is frozen with them counts as a guard that fails to act: all three may have been frozen as one.
    overdue = now_s - frozen_s > max(GUARDS_S, 2 * silence_s)
    alone = unguarded_s is not None and now_s - unguarded_s > silence_s
    return Standstill(frozen_s, unguarded_s, now_s), overdue or alone
