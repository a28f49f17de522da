"""Clients of one process take turns, in order, and share the fate of those who go first."""

import asyncio
from collections.abc import Callable

import pytest

from snsnode.base.errors import DeadlineExceeded, SnsError, Unavailable
from snsnode.client.turns import Turns, turns

SHARED = (Unavailable, DeadlineExceeded)


class Crowd:
    """Tasks that take turns, until told to go on."""

    def __init__(self, most: int) -> None:
        self.turns = Turns(most)
        self.going: list[int] = []
        self.told: list[str] = []
        self.go_on: dict[int, asyncio.Future[None]] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def come(self, *numbers: int) -> None:
        for number in numbers:
            self.tasks[number] = asyncio.create_task(self._take(number))
        await settle()

    async def _take(self, number: int) -> None:
        async with self.turns.turn(self._tell("queued", number), self._tell("begun", number), SHARED):
            self.going.append(number)
            self.go_on[number] = asyncio.get_running_loop().create_future()
            try:
                await self.go_on[number]
            finally:
                self.going.remove(number)

    def _tell(self, what: str, number: int) -> Callable[[], None]:
        return lambda: self.told.append(f"{what} {number}")

    async def end(self, number: int, error: SnsError | None = None) -> None:
        if error is None:
            self.go_on[number].set_result(None)
        else:
            self.go_on[number].set_exception(error)
        await settle()

    async def outcomes(self) -> list[BaseException | None]:
        async with asyncio.timeout(5.0):
            return await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_so_many_go_at_a_time_and_the_others_follow_in_order() -> None:
    crowd = Crowd(2)
    await crowd.come(1, 2, 3, 4)
    assert crowd.going == [1, 2]
    assert crowd.told == ["queued 3", "queued 4"]
    await crowd.end(2)
    assert crowd.going == [1, 3]
    await crowd.come(5)
    await crowd.end(1)
    await crowd.end(3)
    assert crowd.going == [4, 5]
    assert crowd.told[2:] == ["begun 3", "queued 5", "begun 4", "begun 5"]
    await crowd.end(4)
    await crowd.end(5)
    assert crowd.turns.idle
    assert await crowd.outcomes() == [None] * 5


async def test_who_waits_is_told_what_one_before_found_out() -> None:
    crowd = Crowd(1)
    await crowd.come(1, 2, 3)
    await crowd.end(1, Unavailable("nobody there"))
    outcomes = await crowd.outcomes()
    assert [str(outcome) for outcome in outcomes] == ["nobody there"] * 3
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert crowd.turns.idle
    await crowd.come(4)
    assert crowd.going == [4]
    await crowd.end(4)


async def test_failure_that_is_one_client_s_own_is_not_shared() -> None:
    crowd = Crowd(1)
    await crowd.come(1, 2)
    await crowd.end(1, SnsError("mine"))
    assert crowd.going == [2]
    await crowd.end(2)
    assert [type(outcome) for outcome in await crowd.outcomes()] == [SnsError, type(None)]


@pytest.mark.parametrize("leaver", [2, 3])
async def test_who_leaves_the_queue_keeps_nobody_waiting(leaver: int) -> None:
    crowd = Crowd(1)
    await crowd.come(1, 2, 3)
    crowd.tasks[leaver].cancel()
    await settle()
    await crowd.end(1)
    (other,) = crowd.going
    assert other == 5 - leaver
    await crowd.end(other)
    assert crowd.turns.idle


async def test_turn_that_comes_to_one_who_just_left_is_passed_on() -> None:
    crowd = Crowd(1)
    await crowd.come(1, 2, 3)
    crowd.go_on[1].set_result(None)
    await asyncio.sleep(0)  # 1 ends and passes the turn to 2, which does not run yet
    crowd.tasks[2].cancel()
    await settle()
    assert crowd.going == [3]
    await crowd.end(3)
    assert crowd.turns.idle


async def test_turns_are_shared_by_target_and_idle_ones_forgotten() -> None:
    here = turns("ask", "h:1", 4)
    assert turns("ask", "h:1", 4) is here
    assert turns("log in", "h:1", 4) is not here
    assert turns("ask", "h:1", 4) is not here  # it was idle
