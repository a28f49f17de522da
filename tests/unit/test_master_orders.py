"""Orders to a master: what the caller is told is what happens, one order at a time, over a real socket."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from snsnode.base.errors import DeadlineExceeded, Refused, SnsError
from snsnode.base.ids import Epoch, VmName
from snsnode.master import orders
from snsnode.master.leaving import Leaving
from snsnode.master.orders import Orders
from snsnode.master.registration import Load, Registration
from snsnode.node.config import Endpoint
from snsnode.pair.routers import Router
from snsnode.rpc import master_pb2, master_pb2_grpc
from snsnode.social.service import SocialService
from snsnode.transport.channels import call, open_channel
from snsnode.transport.servers import bind, make_threaded_server
from tests.bounds import bounded_in_time
from tests.eventually import eventually_async
from tests.unit.test_master_registration import FakeRouter, accept

__all__ = ["bounded_in_time"]

STEP_S = 10.0
ENDPOINT = Endpoint(VmName("vm2"), "127.0.0.1", 3020)


class SlowRouter(FakeRouter):
    """Answers each registration when it is let."""

    def __init__(self) -> None:
        super().__init__("vm1", accept)
        self.asked = asyncio.Event()
        self.let = asyncio.Event()

    async def register(self, info: Any, timeout_s: float = STEP_S) -> Any:
        self.asked.set()
        await self.let.wait()
        return await super().register(info, timeout_s)


class FakeLeaving:
    """Counts the looks; each takes until it is let."""

    def __init__(self) -> None:
        self.looks = 0
        self.let = asyncio.Event()

    async def look(self) -> None:
        self.looks += 1
        await self.let.wait()


class FakeSocial:
    clients = 3
    logins = 4


class Scene:
    def __init__(self, folder: Path) -> None:
        self.router = SlowRouter()
        self.leaving = FakeLeaving()
        self.registration = Registration(ENDPOINT, 3.0, lambda: Load(0, 0), self)
        self.registration._lines[self.router.endpoint] = cast(Router, self.router)
        self.orders = Orders(cast(Leaving, self.leaving), self.registration, cast(SocialService, FakeSocial()))
        self.server = make_threaded_server(4)
        self.channel_target = target = f"unix:{folder}/master.sock"
        self.server.add(master_pb2_grpc.add_OrdersServicer_to_server, self.orders)
        bind(self.server, target)
        self.server.start()
        self.channel = open_channel(target)
        self.stub: Any = master_pb2_grpc.OrdersStub(self.channel)

    def epoch(self) -> Epoch:
        return Epoch(1)

    async def rise_above(self, known: Epoch) -> None:
        raise AssertionError("no router knows more")

    @property
    def claims(self) -> list[int]:
        return [info.claim for info in self.router.heard if info.claim]

    def ask(self, *, ticket: str = "", left_s: float | None = None) -> Any:
        until_s = time.clock_gettime(time.CLOCK_BOOTTIME) + (left_s or 0.0)
        made = master_pb2.OrderTicket(id=ticket, until_ms=round(until_s * 1000) if left_s is not None else 0)
        return call(self.stub.TakeOver, master_pb2.TakeOverRequest(ticket=made), STEP_S)

    async def refusal(self, asking: Any) -> SnsError:
        with pytest.raises(SnsError) as raised:
            await asking
        return raised.value


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(orders, "ORDER_S", 0.5)
    monkeypatch.setattr(orders, "END_S", 0.2, raising=False)
    made = Scene(tmp_path)
    yield made
    await made.channel.close()
    made.router.let.set()
    made.leaving.let.set()
    made.server.stop(None)
    if hasattr(made.orders, "close"):
        await made.orders.close()


async def test_an_order_that_was_refused_for_its_time_never_happens(scene: Scene) -> None:
    refused = await scene.refusal(scene.ask())
    assert isinstance(refused, Refused)
    assert "nothing was changed" in refused.message
    scene.router.let.set()
    await eventually_async(lambda: len(scene.router.heard) >= 1, STEP_S)
    await scene.refusal(scene.ask(left_s=-1.0))  # behind the one before
    assert scene.claims == []
    assert scene.registration.info().claim == 0


async def test_an_order_that_had_begun_is_not_called_refused(scene: Scene) -> None:
    scene.router.let.set()
    waits = scene.registration._tell_all

    async def slow() -> Any:
        if scene.registration.info().claim:
            scene.router.let.clear()
        return await waits()

    scene.registration._tell_all = slow  # type: ignore[method-assign]
    unknown = await scene.refusal(scene.ask())
    assert isinstance(unknown, DeadlineExceeded)
    assert "'snsctl status' tells" in unknown.message
    scene.router.let.set()
    await eventually_async(lambda: scene.claims == [1], STEP_S)


async def test_two_orders_never_run_at_once(scene: Scene) -> None:
    first = await scene.refusal(scene.ask())  # it was told, and the master is still at it
    second = await scene.refusal(scene.ask(left_s=5.0))
    assert "nothing was changed" in first.message
    assert "another one is being carried out" in second.message
    draining = await scene.refusal(call(scene.stub.Drain, master_pb2.DrainRequest(), STEP_S))
    assert "another one is being carried out" in draining.message
    assert scene.leaving.looks == 0
    scene.router.let.set()
    await eventually_async(lambda: scene.orders._last.answer.done(), STEP_S)  # type: ignore[union-attr]
    assert (await scene.ask()).claim == 1


async def test_an_order_whose_caller_went_away_does_not_happen(scene: Scene) -> None:
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(scene.ask(left_s=5.0))
        await asyncio.wait_for(scene.router.asked.wait(), STEP_S)
        asking.cancel()
    await eventually_async(lambda: scene.orders._last._given_up, STEP_S)  # type: ignore[union-attr]
    scene.router.let.set()
    await eventually_async(lambda: scene.orders._last.answer.done(), STEP_S)  # type: ignore[union-attr]
    assert scene.claims == []


async def test_an_order_of_long_ago_is_refused(scene: Scene) -> None:
    scene.router.let.set()
    late = await scene.refusal(scene.ask(left_s=-0.001))
    assert isinstance(late, Refused)
    assert scene.claims == []


async def test_the_same_order_again_is_carried_out_once(scene: Scene) -> None:
    scene.router.let.set()
    one, again = await scene.ask(ticket="x", left_s=5.0), await scene.ask(ticket="x", left_s=5.0)
    assert one == again
    assert len(scene.router.heard) == 2
    await scene.ask(ticket="y", left_s=5.0)
    assert len(scene.router.heard) == 4


async def test_a_master_that_ends_answers_its_order(scene: Scene) -> None:
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(scene.refusal(scene.ask(left_s=5.0)))
        await asyncio.wait_for(scene.router.asked.wait(), STEP_S)
        await scene.orders.close()
    assert "the master is ending; nothing was changed" in asking.result().message


async def test_one_who_begins_to_leave_meanwhile_takes_nothing_over(scene: Scene) -> None:
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(scene.refusal(scene.ask()))
        await asyncio.wait_for(scene.router.asked.wait(), STEP_S)
        scene.registration.begin(leaving=True)
        scene.router.let.set()
    assert "it is drained or about to end" in asking.result().message
    assert scene.claims == []


async def test_an_order_on_a_loop_that_stands_still_does_not_happen_later(scene: Scene) -> None:
    """The caller is told by a thread; what it was told holds when the loop goes on."""
    scene.router.let.set()
    told: list[grpc.StatusCode] = []

    def ask() -> None:
        with grpc.insecure_channel(scene.channel_target) as channel:
            stub: Any = master_pb2_grpc.OrdersStub(channel)
            try:
                stub.TakeOver(master_pb2.TakeOverRequest(), timeout=STEP_S)
            except grpc.RpcError as error:
                told.append(error.code())

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(STEP_S)  # our loop, which is the master's, stands still
    assert told == [grpc.StatusCode.FAILED_PRECONDITION]
    await scene.refusal(scene.ask(left_s=-1.0))
    assert scene.claims == []
