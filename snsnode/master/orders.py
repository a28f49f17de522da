"""Orders to a running master: served on the socket in its VM's folder, beside KeepAlive, and nowhere else.

Whoever can open that socket is the user who runs the cluster; the master's port is open to anybody.

An order is taken in a thread and carried out in the event loop, which may stand still meanwhile. So each has an
id, a time after which it is not begun any more, and one moment at which it begins. A caller whose order never
reaches that moment is told "refused"; one whose answer does not come in time after it is told that the end is not
known. No order is refused and happens all the same.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from snsnode.base.errors import DeadlineExceeded, Refused, SnsError, Unavailable
from snsnode.master.leaving import Leaving
from snsnode.master.registration import Registration
from snsnode.pair.tasks import Tasks
from snsnode.rpc import master_pb2, master_pb2_grpc
from snsnode.social.service import SocialService

ORDER_S = 3.0  # to begin
END_S = 0.6  # and then to end: two rounds to routers that are silent

Carry = Callable[["Order"], Coroutine[Any, Any, Any]]


class Order:
    """One order: waiting to begin, begun, or given up; only one of the last two, whichever comes first."""

    def __init__(self, ticket: master_pb2.OrderTicket, carry: Carry) -> None:
        self.id = ticket.id
        self.carry = carry
        self.answer: Future[Any] = Future()
        left_s = min(ORDER_S, ticket.until_ms / 1000 - _boot_s()) if ticket.until_ms else ORDER_S
        self._until_s = time.monotonic() + left_s
        self._lock = threading.Lock()
        self._begun = False
        self._given_up = False

    def begin(self) -> None:
        """Pass the moment from which on it happens.

        Raises:
            Refused: it was given up, or its time is over.
        """
        with self._lock:
            if self._given_up or time.monotonic() > self._until_s:
                self._given_up = True
                raise _too_late()
            self._begun = True

    def give_up(self) -> bool:
        """Let it not begin any more; False where it has begun."""
        with self._lock:
            self._given_up = self._given_up or not self._begun
            return self._given_up

    def wait(self) -> Any:
        """Return the answer.

        Raises:
            Refused: nothing was changed, nor will be.
            DeadlineExceeded: it has begun, and its end is not known yet.
            SnsError: what it came to.
        """
        left_s = max(0.0, self._until_s - time.monotonic())
        with contextlib.suppress(TimeoutError):
            return self.answer.result(left_s)
        if self.give_up():
            raise _too_late()
        try:
            return self.answer.result(END_S)
        except TimeoutError:
            raise DeadlineExceeded(
                "cannot tell how this order ends: the master has begun it and is busy; 'snsctl status' tells"
            ) from None


class Orders(master_pb2_grpc.OrdersServicer):
    """Carries out one order at a time; the threads of others are not kept, for heartbeats need them."""

    def __init__(self, leaving: Leaving, registration: Registration, social: SocialService) -> None:
        self._leaving = leaving
        self._registration = registration
        self._social = social
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks()
        self._lock = threading.Lock()
        self._last: Order | None = None  # under way until its answer is there

    async def close(self) -> None:
        """End what is under way; its caller is told."""
        await self._tasks.close()

    def Drain(self, request: master_pb2.DrainRequest, context: Any) -> master_pb2.DrainReply:  # noqa: N802
        """Look at the operator's mark now, and tell who is left. Runs in a thread of the KeepAlive server."""
        reply: master_pb2.DrainReply = self._take(Order(request.ticket, self._drain), context)
        return reply

    def TakeOver(self, request: master_pb2.TakeOverRequest, context: Any) -> master_pb2.TakeOverReply:  # noqa: N802
        """Become the available server. Runs in a thread of the KeepAlive server."""
        reply: master_pb2.TakeOverReply = self._take(Order(request.ticket, self._take_over), context)
        return reply

    async def _drain(self, order: Order) -> master_pb2.DrainReply:
        order.begin()
        await self._leaving.look()
        return master_pb2.DrainReply(
            clients=self._social.clients,
            may_move=self._registration.may_move,
            leaving=self._registration.leaving,
        )

    async def _take_over(self, order: Order) -> master_pb2.TakeOverReply:
        claim, routers = await self._registration.take_over(order.begin)
        return master_pb2.TakeOverReply(claim=claim, routers=routers)

    def _take(self, order: Order, context: Any) -> Any:
        try:
            order = self._next(order)
            context.add_callback(order.give_up)  # the caller went away, or has its answer
            return order.wait()
        except Unavailable as error:  # of the routers, before it began
            raise Refused(error.message) from error

    def _next(self, order: Order) -> Order:
        """Let ``order`` be carried out; return it, or the one that it repeats."""
        with self._lock:
            last = self._last
            if last is not None and last.id and last.id == order.id:
                return last
            if last is not None and not last.answer.done():
                raise Refused("cannot take this order: another one is being carried out; nothing was changed")
            self._last = order
        try:
            self._loop.call_soon_threadsafe(self._start, order)
        except RuntimeError:  # the loop is closed
            order.answer.set_exception(_ending(order))
        return order

    def _start(self, order: Order) -> None:
        task = self._tasks.start(order.carry(order), name="order")
        task.add_done_callback(lambda done: self._answer(order, done))

    def _answer(self, order: Order, done: asyncio.Task[Any]) -> None:
        if done.cancelled():
            order.answer.set_exception(_ending(order))
        elif (error := done.exception()) is not None:
            order.answer.set_exception(error)
        else:
            order.answer.set_result(done.result())


def _ending(order: Order) -> SnsError:
    if order.give_up():
        return Refused("cannot take this order: the master is ending; nothing was changed")
    return DeadlineExceeded("cannot tell how this order ended: the master is ending; 'snsctl status' tells")


def _too_late() -> Refused:
    return Refused("cannot take this order in time: the master is busy; nothing was changed, try again")


def _boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
