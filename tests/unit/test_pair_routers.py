"""A VM's lines to its routers: opened ahead of the first call, taken over, and closed by whoever has them."""

import asyncio
import socket

import grpc

from snsnode.base.ids import VmName
from snsnode.node.config import Endpoint
from snsnode.pair.routers import Router, Routers
from tests.eventually import eventually_async
from tests.ports import free_port


def endpoint(port: int) -> Endpoint:
    return Endpoint(VmName("vm1"), "127.0.0.1", port)


async def nobody(router: Router) -> None:
    await asyncio.Event().wait()


def is_closed(router: Router) -> bool:
    return router._channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_line_connects_before_anything_is_called() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        routers = Routers([endpoint(listener.getsockname()[1])], nobody)
        routers.connect()
        connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listener), 10)
        connection.close()
        await routers.close()


async def test_line_that_was_opened_ahead_is_the_one_that_is_served_and_closed_with_it() -> None:
    served: list[Router] = []

    async def serve(router: Router) -> None:
        served.append(router)
        await nobody(router)

    routers = Routers([endpoint(free_port())], serve)
    routers.connect()
    [ahead] = routers._ahead.values()
    running = asyncio.create_task(routers.run())
    await eventually_async(lambda: served == [ahead], within_s=10)
    await routers.close()
    assert not is_closed(ahead)
    running.cancel()
    await asyncio.wait([running])
    assert is_closed(ahead)


async def test_line_that_nobody_took_over_is_closed() -> None:
    routers = Routers([endpoint(free_port())], nobody)
    routers.connect()
    [ahead] = routers._ahead.values()
    await routers.close()
    assert is_closed(ahead)


async def test_router_that_comes_later_gets_a_line_of_its_own() -> None:
    served: list[Router] = []

    async def serve(router: Router) -> None:
        served.append(router)
        await nobody(router)

    first, second = endpoint(free_port()), endpoint(free_port())
    routers = Routers([first], serve)
    routers.connect()
    running = asyncio.create_task(routers.run())
    await eventually_async(lambda: len(served) == 1, within_s=10)
    routers.update([second])
    await eventually_async(lambda: [line.endpoint for line in served] == [first, second], within_s=10)
    await eventually_async(lambda: is_closed(served[0]), within_s=10)
    running.cancel()
    await asyncio.wait([running])
