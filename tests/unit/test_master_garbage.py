"""The collector of a serving master looks at little at a time, and at everything now and then."""

import asyncio
import gc
import weakref

import pytest

from snsnode.master import garbage
from tests.eventually import eventually_async


class Node:
    me: "Node"


def cycle() -> "weakref.ref[Node]":
    node = Node()
    node.me = node
    return weakref.ref(node)


@pytest.fixture(autouse=True)
def rhythm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "SET_ASIDE_EVERY_S", 0.01)


async def test_what_lives_long_is_set_aside_and_given_back_at_the_end() -> None:
    kept: list[list[int]] = [[] for _ in range(1000)]
    task = asyncio.create_task(garbage.collect_rarely())
    await eventually_async(lambda: gc.get_freeze_count() > len(kept), within_s=15.0)
    task.cancel()
    await asyncio.wait((task,))
    assert gc.get_freeze_count() == 0


async def test_old_cycles_go_with_the_full_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "FULL_EVERY_S", 0.3)
    monkeypatch.setattr(garbage, "FULL_OBJECTS_MAX", 10**9)  # other tests may have left a lot in this process
    old = cycle()
    task = asyncio.create_task(garbage.collect_rarely())
    await asyncio.sleep(0.05)
    gc.collect()
    assert old() is not None, "it was not set aside"
    await eventually_async(lambda: old() is None, within_s=15.0)
    task.cancel()
    await asyncio.wait((task,))


async def test_a_full_collection_waits_while_there_is_much_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "FULL_EVERY_S", 0.05)
    monkeypatch.setattr(garbage, "FULL_OBJECTS_MAX", 0)
    old = cycle()
    task = asyncio.create_task(garbage.collect_rarely())
    await asyncio.sleep(0.2)
    assert old() is not None
    monkeypatch.setattr(garbage, "FULL_OBJECTS_MAX", 10**9)
    await eventually_async(lambda: old() is None, within_s=15.0)
    task.cancel()
    await asyncio.wait((task,))
