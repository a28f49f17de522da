"""Row 19: a full disk refuses posts, and nothing else; a read-only one is waited out, not called bad settings."""

import asyncio
import os
import signal
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from snsnode.base.errors import AlreadyDone, Exhausted
from snsnode.base.ids import Epoch, VmName
from snsnode.client import Client
from snsnode.node import epoch
from snsnode.store.engines import open_store
from tests import full_disk
from tests.chaos import scene
from tests.cluster import Cluster, running
from tests.eventually import eventually
from tests.full_disk import SmallDisk, small_disk

pytestmark = pytest.mark.chaos

DISK_BYTES = 4 * 1024 * 1024
QUIET_S = 3.0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    """Put the homes of clusters on a small disk of their own."""
    monkeypatch.setattr(full_disk, "DISK_BYTES", DISK_BYTES)
    with small_disk() as mounted:
        monkeypatch.setattr(tempfile, "tempdir", str(mounted.folder))
        yield mounted


def test_full_disk_refuses_posts_and_nothing_else(disk: SmallDisk) -> None:
    with running() as cluster:
        scene.await_rest(cluster)
        whole = scene.pids(cluster)

        async def use(client: Client) -> None:
            await client.post("with room")
            disk.fill()
            try:
                await assert_posts_refused(client)
                assert await texts(client) == ["with room"]
                assert (await client.list())[0] == ["alice"]
                with pytest.raises((AlreadyDone, Exhausted)):  # a name that is in use stays so
                    async with alice(cluster):
                        pass
                await asyncio.to_thread(scene.assert_undisturbed, cluster, whole, QUIET_S)
            finally:
                disk.free()
            await client.post("with room again")
            assert await texts(client) == ["with room again", "with room"]

        in_client(cluster, use)
        assert scene.pids(cluster) == whole


def test_master_killed_while_the_disk_is_full_comes_back_and_serves_reads(disk: SmallDisk) -> None:
    with running() as cluster:
        before = scene.await_rest(cluster)

        async def use(client: Client) -> None:
            await client.post("with room")
            disk.fill()
            try:
                await use_up_log(cluster)
                with kept_full(disk):  # the dead one gives back a page or two
                    await asyncio.to_thread(cluster.kill, "vm2", "master")
                    after = await asyncio.to_thread(scene.await_answer, cluster, "vm2", other_than=before)
                assert after.epoch > before.epoch
                assert await texts(client) == ["with room"]
                await assert_posts_refused(client)
                heirs = {name: who for name, who in scene.pids(cluster).items() if name != "spare"}
                await asyncio.sleep(QUIET_S)
                now = {name: who for name, who in scene.pids(cluster).items() if name != "spare"}
                assert now == heirs, cluster.tails()
            finally:
                disk.free()
            await eventually_posts(client, "with room again")
            assert await texts(client) == ["with room again", "with room"]

        in_client(cluster, use)
        scene.await_rest(cluster)


def test_read_only_disk_is_tried_slower_and_slower_and_served_once_it_is_writable() -> None:
    with running(restart="{intensity: 2, period: 3s, backoff_max: 0.5s}", start=False) as cluster:
        vm_dir = cluster.vm_dir("vm2")
        with freezable(vm_dir.state) as (freeze, thaw):
            cluster.start()
            before = scene.await_rest(cluster)
            slave = cluster.pid("vm2", "slave")
            freeze()
            try:
                cluster.kill("vm2", "master")

                def slow() -> bool:
                    waits = [e.fields["wait_ms"] for e in scene.entries(cluster, "vm2", "degraded")]
                    return bool(waits) and waits[0] < 200 and waits[-1] >= 400

                eventually(slow, scene.BACK_WITHIN_S)
                # None: the end was seen before its code.
                codes = {e.fields.get("exit_code") for e in scene.entries(cluster, "vm2", "master-down")}
                assert codes - {None, -signal.SIGKILL} == {1}  # never 78
                assert f"cannot record epoch {before.epoch + 1} in " in vm_dir.log("master").read_text()
                assert epoch.read(vm_dir) == before.epoch
                assert cluster.pid("vm2", "slave") == slave
            finally:
                thaw()
            assert scene.await_rest(cluster).epoch == before.epoch + 1  # nor was one of the store's spent
            cluster.stop()


@contextmanager
def freezable(folder: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Yield what makes ``folder`` read-only and what takes that back: a disk of its own, or else a mode."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with full_disk.mounted(folder) as own:
        if own is not None:
            yield own.freeze, own.thaw
        elif os.geteuid() != 0:
            yield partial(folder.chmod, 0o500), partial(folder.chmod, 0o700)
        else:
            pytest.skip("root, for whom modes do not count, may not mount here")


def in_client(cluster: Cluster, use: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with alice(cluster) as client:
            await use(client)

    asyncio.run(run())


def alice(cluster: Cluster) -> Client:
    return Client([f"127.0.0.1:{cluster.ports['vm1']}"], username="alice", deadline_s=20)


@contextmanager
def kept_full(disk: SmallDisk) -> Iterator[None]:
    """Take every byte that becomes free."""
    ended = threading.Event()

    def fill() -> None:
        while not ended.wait(0.0005):
            with suppress(AssertionError):
                disk.fill()

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def use_up_log(cluster: Cluster) -> None:
    """Leave no room in the store's log, either, for as little as an epoch."""
    store = await open_store("sqlite:///sns.db", cluster.home)
    try:
        with pytest.raises(Exhausted):
            for epoch in range(1, 10_000):
                await store.claim_epoch(VmName("vm9"), Epoch(epoch))
    finally:
        await store.close()


async def assert_posts_refused(client: Client) -> None:
    with pytest.raises(Exhausted):
        for number in range(10_000):  # what is left of the last block may hold a post or two
            await client.post(f"{number} without room {'x' * 500}")


async def eventually_posts(client: Client, text: str) -> None:
    until_s = time.monotonic() + scene.BACK_WITHIN_S
    while True:
        try:
            await client.post(text)
        except Exhausted:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.1)
        else:
            return


async def texts(client: Client) -> list[str]:
    timeline = client.timeline()
    found = [post.text for post in await timeline.history() if "without" not in post.text]
    await timeline.aclose()
    return found
