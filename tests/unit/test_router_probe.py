"""The router's probe: a silent server is silent, and a router that was not there itself says nothing of it."""

import time

from snsnode.router.probe import LATE_S, LOOKS_MAX, answers

TARGET = "198.18.0.10:3020"
WITHIN_S = 0.01


class Machine:
    """Answers each question as told: whether the server served, and for how long we did not run meanwhile."""

    def __init__(self, *answers: tuple[bool, float]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def ask(self, target: str, within_s: float) -> bool:
        assert (target, within_s) == (TARGET, WITHIN_S)
        self.asked += 1
        serves, blocked_s = self._answers.pop(0)
        if blocked_s:
            time.sleep(blocked_s)  # noqa: ASYNC251 - the whole process is held up, and that is the point
        return serves


LATE = 2 * LATE_S


async def test_an_answer_is_an_answer_however_late() -> None:
    machine = Machine((True, LATE))
    assert await answers(TARGET, WITHIN_S, machine.ask)
    assert machine.asked == 1


async def test_a_silent_server_is_silent_at_once() -> None:
    machine = Machine((False, 0.0))
    assert not await answers(TARGET, WITHIN_S, machine.ask)
    assert machine.asked == 1


async def test_a_router_that_did_not_run_meanwhile_asks_again() -> None:
    machine = Machine((False, LATE), (True, 0.0))
    assert await answers(TARGET, WITHIN_S, machine.ask)
    machine = Machine((False, LATE), (False, 0.0))
    assert not await answers(TARGET, WITHIN_S, machine.ask)


async def test_a_router_that_never_runs_in_time_condemns_nobody() -> None:
    machine = Machine(*[(False, LATE)] * LOOKS_MAX)
    assert await answers(TARGET, WITHIN_S, machine.ask)
    assert machine.asked == LOOKS_MAX
