"""A master's registrations, against routers that answer as they are told."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from snsnode.base.errors import NotAllowed, Unavailable
from snsnode.base.ids import Epoch, VmName
from snsnode.master.registration import Load, Registration
from snsnode.master.standing import CLAIM_END, FOLLOW_MAX
from snsnode.node.config import Endpoint
from snsnode.pair.routers import Router
from snsnode.rpc import server_pb2

STEP_S = 5.0
Answer = Callable[[server_pb2.ServerInfo], server_pb2.KeepAliveReply]


class FakeRouter:
    """Answers registrations; between two of them a master waits for ``go_on``."""

    def __init__(self, vm: str, answer: Answer) -> None:
        self.endpoint = Endpoint(VmName(vm), "127.0.0.1", 3000)
        self.answer = answer
        self.heard: list[server_pb2.ServerInfo] = []
        self.waits = asyncio.Event()
        self.go_on = asyncio.Event()
        self.news = asyncio.Event()

    async def register(self, info: server_pb2.ServerInfo, timeout_s: float = STEP_S) -> server_pb2.KeepAliveReply:
        self.heard.append(info)
        await asyncio.sleep(0)
        return self.answer(info)

    async def rest(self, within_s: float) -> None:
        self.waits.set()
        await self.go_on.wait()
        self.go_on.clear()

    async def next_wait(self) -> None:
        self.waits.clear()
        self.go_on.set()
        async with asyncio.timeout(STEP_S):
            await self.waits.wait()


class Master:
    """A registration and its lines."""

    def __init__(self) -> None:
        self.raised: list[Epoch] = []
        self.now = Epoch(1)
        endpoint = Endpoint(VmName("vm2"), "127.0.0.1", 3020)
        self.registration = Registration(endpoint, 3.0, lambda: Load(4, 7), self)

    def epoch(self) -> Epoch:
        return self.now

    async def rise_above(self, known: Epoch) -> None:
        self.raised.append(known)
        self.now = Epoch(known + 1)

    async def serve(self, router: FakeRouter) -> asyncio.Task[None]:
        """Register with ``router`` and go on until the master waits."""
        line = asyncio.create_task(self.registration.serve(cast(Router, router)), name=router.endpoint.vm)
        async with asyncio.timeout(STEP_S):
            await router.waits.wait()
        return line


def accept(info: server_pb2.ServerInfo) -> server_pb2.KeepAliveReply:
    return server_pb2.KeepAliveReply(accepted=True, epoch=info.epoch)


def saying(state: server_pb2.ServerState.ValueType) -> Answer:
    return lambda info: server_pb2.KeepAliveReply(accepted=True, epoch=info.epoch, state=state)


def knowing(epoch: int) -> Answer:
    def answer(info: server_pb2.ServerInfo) -> server_pb2.KeepAliveReply:
        return server_pb2.KeepAliveReply(accepted=info.epoch > epoch, epoch=max(epoch, info.epoch))

    return answer


async def end(*lines: asyncio.Task[None]) -> None:
    for line in lines:
        line.cancel()
    await asyncio.wait(lines)


async def test_a_master_rises_above_what_a_router_knows() -> None:
    master, router = Master(), FakeRouter("vm1", knowing(FOLLOW_MAX + 1))
    line = await master.serve(router)
    assert [info.epoch for info in router.heard] == [1, FOLLOW_MAX + 2]
    await end(line)


async def test_a_master_does_not_follow_an_epoch_beyond_belief(caplog: pytest.LogCaptureFixture) -> None:
    master, router = Master(), FakeRouter("vm1", knowing(FOLLOW_MAX + 2))
    line = await master.serve(router)
    assert (master.raised, master.now) == ([], 1)
    assert len(router.heard) == 1  # it waits, and asks again
    assert "too far above our 1 to follow" in caplog.text
    router.answer = accept
    await router.next_wait()
    assert [info.epoch for info in router.heard] == [1, 1]
    await end(line)


async def test_a_master_that_ends_and_is_refused_waits() -> None:
    master, router = Master(), FakeRouter("vm1", knowing(7))
    await master.registration.leave(ending=True)
    line = await master.serve(router)
    assert (master.raised, len(router.heard)) == ([], 1)
    await end(line)


async def test_a_drained_master_still_rises_above_what_a_router_knows() -> None:
    master, router = Master(), FakeRouter("vm1", knowing(7))
    await master.registration.leave()
    line = await master.serve(router)
    assert [(info.epoch, info.leaving) for info in router.heard] == [(1, True), (8, True)]
    await end(line)


async def test_routers_are_told_clients_and_logins() -> None:
    master, router = Master(), FakeRouter("vm1", accept)
    line = await master.serve(router)
    assert (router.heard[0].clients, router.heard[0].logins) == (4, 7)
    await end(line)


def granting(state: server_pb2.ServerState.ValueType, claim: int, highest: int) -> Answer:
    return lambda info: server_pb2.KeepAliveReply(
        accepted=True, epoch=info.epoch, state=state, granted_claim=claim, claim=highest
    )


async def test_a_claim_that_one_router_grants_is_told_to_the_others_at_once() -> None:
    master = Master()
    other = FakeRouter("vm3", accept)
    lines = [await master.serve(other)]
    other.news.clear()
    chose = FakeRouter("vm1", granting(server_pb2.SERVER_STATE_AVAILABLE, 5, 5))
    lines.append(await master.serve(chose))
    assert other.news.is_set()
    await other.next_wait()
    assert [info.claim for info in other.heard] == [0, 5]
    await chose.next_wait()
    assert [info.claim for info in chose.heard] == [0, 5]
    await end(*lines)


async def test_a_claim_beyond_the_end_is_not_carried() -> None:
    master = Master()
    router = FakeRouter("vm1", granting(server_pb2.SERVER_STATE_AVAILABLE, CLAIM_END, CLAIM_END))
    line = await master.serve(router)
    await router.next_wait()
    assert [info.claim for info in router.heard] == [0, 0]
    await end(line)


async def test_taking_over_claims_more_than_any_router_knows() -> None:
    master = Master()
    routers = [
        FakeRouter("vm1", granting(server_pb2.SERVER_STATE_STANDBY, 0, 6)),
        FakeRouter("vm3", granting(server_pb2.SERVER_STATE_STANDBY, 2, 8)),
    ]
    lines = [await master.serve(router) for router in routers]
    assert await master.registration.take_over() == (9, ["vm1", "vm3"])
    assert [router.heard[-1].claim for router in routers] == [9, 9]
    await end(*lines)


async def test_without_a_router_nothing_is_taken_over() -> None:
    with pytest.raises(Unavailable, match="cannot switch over to vm2: it reaches no router"):
        await Master().registration.take_over()


async def test_one_who_leaves_takes_nothing_over() -> None:
    master = Master()
    await master.registration.leave()
    with pytest.raises(NotAllowed, match="it is drained or about to end"):
        await master.registration.take_over()


async def test_clients_may_move_where_a_router_has_another_server() -> None:
    master = Master()
    said: list[bool] = []
    lines = [await master.serve(FakeRouter("vm1", saying(server_pb2.SERVER_STATE_AVAILABLE)))]
    await master.registration.leave()
    said.append(master.registration.may_move)
    lines.append(await master.serve(FakeRouter("vm3", saying(server_pb2.SERVER_STATE_STANDBY))))
    said.append(master.registration.may_move)
    await master.registration.stay()
    said.append(master.registration.may_move)
    assert said == [False, True, False]
    await end(*lines)


async def test_an_ending_master_does_not_stay() -> None:
    master = Master()
    await master.registration.leave(ending=True)
    await master.registration.stay()
    assert master.registration.leaving
