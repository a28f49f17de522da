"""The way back: from every state in which the pair is wanted and anybody can act, it serves again."""

import itertools
from collections.abc import Iterator

from tests.explorer.state import State, is_as_wanted, rounded, somebody_can_act
from tests.explorer.steps import Step

Calm = list[list[tuple[Step, int]]]  # for each state what follows without a fault


class WayBack:
    """The longest time from any state to service along steps without a fault; a circle is for ever."""

    def __init__(self, states: list[State], calm: Calm) -> None:
        self._states = states
        self._calm = calm
        self.longest_s: dict[int, float] = {}
        self._so_far_s: dict[int, float] = {}  # of the states on the path
        self._stack: list[tuple[int, Iterator[tuple[Step, int]]]] = []

    def prove(self) -> tuple[str, int, list[Step]] | None:
        """Walk from every state; return what goes wrong, where, and the steps of a circle; None: nothing."""
        for start in range(len(self._calm)):
            self._enter(start)
            while self._stack:
                wrong = self._walk()
                if wrong is not None:
                    return wrong
        return None

    def _enter(self, state: int) -> float | None:
        """Return the known time; None after putting the state on the path."""
        if state in self.longest_s:
            return self.longest_s[state]
        at = self._states[state]
        if is_as_wanted(at) or not somebody_can_act(at):
            self.longest_s[state] = 0.0
            return 0.0
        self._so_far_s[state] = 0.0
        self._stack.append((state, iter(self._calm[state])))
        return None

    def _walk(self) -> tuple[str, int, list[Step]] | None:
        state, rest = self._stack[-1]
        if not self._calm[state]:
            return "nothing happens any more, and nobody serves", state, []
        following = next(rest, None)
        if following is None:
            self._stack.pop()
            self.longest_s[state] = self._so_far_s.pop(state)
            if self._stack:
                self._take(self._stack[-1][0], self._step(self._stack[-1][0], state), self.longest_s[state])
            return None
        step, after = following
        if after in self._so_far_s:
            path = [on_path for on_path, _ in self._stack]
            circle = [self._step(a, b) for a, b in itertools.pairwise(path[path.index(after) :])]
            again = Step("and from here on, again and again:")
            return "the pair goes in circles, and nobody serves", after, [again, *circle, step]
        known_s = self._enter(after)
        if known_s is not None:
            self._take(state, step, known_s)
        return None

    def _step(self, before: int, after: int) -> Step:
        return next(step for step, found in self._calm[before] if found == after)

    def _take(self, state: int, step: Step, rest_s: float) -> None:
        self._so_far_s[state] = max(self._so_far_s[state], rounded(step.after_s + rest_s))
