"""Orders to a running master: served on the socket in its VM's folder, beside KeepAlive, and nowhere else.

Whoever can open that socket is the user who runs the cluster; the master's port is open to anybody.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from snsnode.base.errors import SnsError, Unavailable
from snsnode.master.leaving import Leaving
from snsnode.master.registration import Registration
from snsnode.rpc import master_pb2, master_pb2_grpc
from snsnode.social.service import SocialService
from snsnode.transport.status import ERROR_KEY, status_of

ORDER_S = 3.0

Reply = TypeVar("Reply")


class Orders(master_pb2_grpc.OrdersServicer):
    """Takes one order at a time, so that no number of them keeps a heartbeat waiting for a thread."""

    def __init__(self, leaving: Leaving, registration: Registration, social: SocialService) -> None:
        self._leaving = leaving
        self._registration = registration
        self._social = social
        self._loop = asyncio.get_running_loop()
        self._busy = threading.Lock()

    def Drain(self, request: master_pb2.DrainRequest, context: Any) -> master_pb2.DrainReply:  # noqa: N802
        """Look at the operator's mark now, and tell who is left. Runs in a thread of the KeepAlive server."""
        return self._in_loop(self._drain(), context)

    def TakeOver(self, request: master_pb2.TakeOverRequest, context: Any) -> master_pb2.TakeOverReply:  # noqa: N802
        """Become the available server. Runs in a thread of the KeepAlive server."""
        return self._in_loop(self._take_over(), context)

    async def _drain(self) -> master_pb2.DrainReply:
        await self._leaving.look()
        return master_pb2.DrainReply(
            clients=self._social.clients,
            may_move=self._registration.may_move,
            leaving=self._registration.leaving,
        )

    async def _take_over(self) -> master_pb2.TakeOverReply:
        claim, routers = await self._registration.take_over()
        return master_pb2.TakeOverReply(claim=claim, routers=routers)

    def _in_loop(self, work: Coroutine[Any, Any, Reply], context: Any) -> Reply:
        if not self._busy.acquire(blocking=False):
            work.close()
            raise _aborted(context, Unavailable("cannot take this order: another one is being carried out"))
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(ORDER_S)
        except SnsError as error:
            raise _aborted(context, error) from error
        except (TimeoutError, CancelledError, RuntimeError) as error:
            raise _aborted(context, Unavailable("cannot take this order: the master is busy or ending")) from error
        finally:
            self._busy.release()


def _aborted(context: Any, error: SnsError) -> Exception:
    """End the call with the status of ``error``; gRPC raises, and wants to see what it raised."""
    context.set_trailing_metadata(((ERROR_KEY, error.code),))
    try:
        context.abort(status_of(error), error.message)
    except Exception as raised:  # noqa: BLE001 - whatever class it has
        return raised
    return error
