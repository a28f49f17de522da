"""One watcher of a partner, on a clock that is passed in: what the tests of the pair machine share."""

from snsnode.guard.machine import (
    Action,
    Answered,
    Beat,
    Cleared,
    Died,
    Event,
    Missed,
    Phase,
    Rules,
    Seen,
    State,
    Tick,
    step,
)
from snsnode.guard.times import TICK_S
from snsnode.node.process import Identity

SLAVE = Rules(interval_s=3.0, timeout_s=1.0, silence_s=9.0, start_deadline_s=20.0, sends=True)
MASTER = Rules(interval_s=3.0, timeout_s=1.0, silence_s=9.0, start_deadline_s=20.0, sends=False)
P = Identity(100, 1, "boot")
Q = Identity(101, 2, "boot")


class Watcher:
    """Feeds a machine and remembers what it asked for."""

    def __init__(self, rules: Rules = SLAVE) -> None:
        self.rules = rules
        self.state = State()
        self.now_s = 1000.0
        self.wanted = True
        self.moving = True  # the partner's progress
        self.letter: str | None = "S"
        self.count: int | None = 0
        self.actions: list[Action] = []  # of the last event
        self.all: list[tuple[float, Action]] = []

    def feed(self, event: Event) -> list[Action]:
        self.state, actions = step(self.state, event, self.now_s, self.rules, wanted=self.wanted)
        self.actions = list(actions)
        self.all += [(self.now_s, action) for action in actions]
        return self.actions

    def tick(self, after_s: float = TICK_S) -> list[Action]:
        self.now_s += after_s
        if self.moving and self.count is not None:
            self.count += 1
        return self.feed(Tick(self.letter, self.count) if self.state.partner else Tick())

    def run(self, for_s: float, answers: bool = True) -> list[Action]:
        """Tick for a while; each beat is answered at once, or times out."""
        happened: list[Action] = []
        timeouts: list[float] = []
        until_s = self.now_s + for_s - TICK_S / 2
        while self.now_s < until_s:
            actions = list(self.tick())
            while timeouts and timeouts[0] <= self.now_s and self.state.partner is not None:
                timeouts.pop(0)
                actions += self.feed(Missed(self.state.partner))
            happened += actions
            for beat in [action for action in actions if isinstance(action, Beat)]:
                if answers:
                    self.feed(Answered(beat.partner))
                else:
                    timeouts.append(self.now_s + self.rules.timeout_s)
            if self.state.phase in (Phase.CLEARING, Phase.ABSENT):
                break
        return happened


def up(rules: Rules = SLAVE) -> Watcher:
    """Return a watcher whose partner is UP and was looked at once."""
    watcher = Watcher(rules)
    watcher.feed(Seen(P))
    watcher.feed(Answered(P))
    watcher.tick()
    assert watcher.state.phase is Phase.UP
    return watcher


def starting(rules: Rules = SLAVE) -> Watcher:
    watcher = Watcher(rules)
    watcher.feed(Tick())
    watcher.feed(Seen(P))
    assert watcher.state.phase is Phase.STARTING
    return watcher


def clearing() -> Watcher:
    watcher = up()
    watcher.feed(Died(P))
    assert watcher.state.phase is Phase.CLEARING
    return watcher


def waiting(wait_s: float = 5.0) -> Watcher:
    watcher = clearing()
    watcher.feed(Cleared(wait_s))
    assert watcher.state.phase is Phase.WAITING
    return watcher
