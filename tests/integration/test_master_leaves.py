"""A planned end of a master, seen at the master itself: clients' retries would hide it if it just fell over.

The routers send nobody to it before its port closes, calls in flight are answered, and open streams are told why.
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import grpc
import pytest

from snsnode.base.ids import PostId
from snsnode.node import intent
from snsnode.node.process import Identity, is_alive
from snsnode.rpc import master_pb2_grpc, router_pb2, router_pb2_grpc, server_pb2
from snsnode.store.engines import open_store
from snsnode.transport.channels import open_channel
from tests.cluster import Cluster, running
from tests.eventually import eventually, eventually_async
from tests.social_rig import STEP_S, RawClient, error_of

pytestmark = pytest.mark.integration

ENDS_WITHIN_S = 15.0


@pytest.fixture(params=[1, 2], ids=["the only server", "with another one"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running(servers=request.param) as made:
        yield made


@contextmanager
def held_store(home: Path) -> Iterator[None]:
    """Keep every write of the store waiting for the ``with`` block."""
    writer = apsw.Connection(str(home / "sns.db"))
    try:
        writer.execute("BEGIN IMMEDIATE")
        yield
        writer.execute("ROLLBACK")
    finally:
        writer.close()


async def left(cluster: Cluster, vm: str) -> bool:
    """Tell whether the router knows, while ``vm`` is not down, that nobody shall be sent there."""
    async with closing(open_channel(f"127.0.0.1:{cluster.ports[cluster.router_vm]}")) as channel:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        table = await stub.Table(router_pb2.TableRequest(), timeout=STEP_S)
    [server] = [server for server in table.servers if server.vm == vm]
    assert server.state != server_pb2.SERVER_STATE_DOWN, "it ended before it left"
    return bool(server.leaving) and (len(cluster.server_vms) == 1 or table.available_vm != vm)


async def answers(target: str) -> int:
    """Return the pid of the master that answers at ``target``; fail where none does."""
    async with closing(open_channel(target)) as channel:
        stub: Any = master_pb2_grpc.MasterStub(channel)
        return int((await stub.KeepAlive(server_pb2.KeepAliveRequest(), timeout=STEP_S)).pid)


@contextlib.asynccontextmanager
async def closing(channel: grpc.aio.Channel) -> Any:
    try:
        yield channel
    finally:
        await channel.close()


async def end_under_a_client(cluster: Cluster, vm: str) -> Identity:
    """End the master of ``vm`` as an operator does, with a post in flight and a stream open; return who it was."""
    target = f"127.0.0.1:{cluster.ports[vm]}"
    async with RawClient(target, "alice") as alice:
        session = await alice.session()
        with held_store(cluster.home):
            posting = asyncio.create_task(alice.post("in flight"))
            await asyncio.sleep(0)
            await alice.list()  # on the same connection, and answered: the post has arrived
            intent.stop(cluster.vm_dir(vm), "master")
            master = cluster.signal(vm, "master", signal.SIGTERM)
            await eventually_async(lambda: left(cluster, vm), within_s=STEP_S)
            assert await answers(target) == master.pid, "the port was closed before the routers knew"
            assert not posting.done()
        assert await posting > 0
        assert "the server is leaving" in str((await error_of(session)).details())
    return master


async def stored(cluster: Cluster) -> list[str]:
    store = await open_store("sqlite:///sns.db", cluster.home)
    try:
        return [post.text for post in await store.posts_after(PostId(0), 10)]
    finally:
        await store.close()


def test_planned_end_leaves_the_routers_first_and_cuts_no_call(cluster: Cluster) -> None:
    vm = cluster.await_available()
    master = asyncio.run(end_under_a_client(cluster, vm))
    eventually(lambda: not is_alive(master), ENDS_WITHIN_S)
    assert asyncio.run(stored(cluster)) == ["in flight"]
    cluster.ctl("start", "master", "--vm", vm)
    cluster.await_available()


def test_master_that_waits_for_the_store_s_leave_to_begin_can_be_ended() -> None:
    with running(spare=False) as cluster:
        [vm] = cluster.server_vms
        with held_store(cluster.home):
            [before] = cluster.kill(vm, "master")
            pid = cluster.await_role(vm, "master", other_than=before.pid)
            log = cluster.home / vm / "log" / "master.log"
            eventually(lambda: "trying again" in log.read_text(), within_s=ENDS_WITHIN_S)
            intent.stop(cluster.vm_dir(vm), "master")
            waiting = cluster.signal(vm, "master", signal.SIGTERM)
            assert waiting.pid == pid
            eventually(lambda: not is_alive(waiting), within_s=ENDS_WITHIN_S)
