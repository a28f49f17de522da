"""When a server's clients are told to leave, and how long a planned end waits for them. Pure; ``leaving`` acts.

Seconds of the monotonic clock are passed in.
"""

from dataclasses import dataclass, replace

LOOK_EVERY_S = 0.5  # at the operator's mark
TELL_EVERY_S = 1.0  # those that could not move yet are told again
MOVE_WITHIN_S = 3.0  # a planned end waits so long for its clients
MOVE_LOOK_S = 0.02
ASK_EVERY_S = 0.3  # whether there is still another server, while clients move


def turn(*, drained: bool, ending: bool, leaving: bool) -> bool | None:
    """Return what the routers must hear: True, that we leave; False, that we stay; None, nothing new."""
    leaves = drained or ending
    return leaves if leaves != leaving else None


@dataclass(frozen=True, slots=True)
class Notice:
    """What the clients were told: when to move; None: they may stay."""

    told_s: float | None = None

    def tell(self, *, may_move: bool, now_s: float) -> tuple["Notice", bool | None]:
        """Return what to tell them now: True to move, False to stay, None nothing.

        They are told to move while there is another server, and again until they have.
        """
        if not may_move:
            return Notice(), None if self.told_s is None else False
        if self.told_s is None or now_s - self.told_s >= TELL_EVERY_S:
            return Notice(now_s), True
        return self, None


@dataclass(frozen=True, slots=True)
class End:
    """A planned end, once the routers were told: it looks each ``MOVE_LOOK_S`` whether to wait on."""

    began_s: float
    asked_s: float  # the routers, last

    @classmethod
    def at(cls, now_s: float) -> "End":
        """Begin."""
        return cls(now_s, now_s)

    def waits(self, *, clients: int, may_move: bool, now_s: float) -> bool:
        """Tell whether clients are still here that can move."""
        return clients > 0 and may_move and now_s < self.began_s + MOVE_WITHIN_S

    def ask(self, now_s: float) -> "End | None":
        """Return the end with the routers asked once more, where that is due: the other server may be gone."""
        return replace(self, asked_s=now_s) if now_s - self.asked_s > ASK_EVERY_S else None
