"""Fixtures that hold every test of the store to a time, and to leaving nothing behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from tests import looker
from tests.eventually import eventually

TEST_MAX_S = 60


@pytest.fixture(autouse=True)
def bounded_in_time() -> Iterator[None]:
    """Fail a test that hangs."""
    with deadline(TEST_MAX_S):
        yield


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after so long."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread of a store or a child process."""
    yield
    eventually(lambda: not _store_threads(), within_s=15)
    assert not children()


def _store_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("store-")]


def children() -> set[int]:
    """Return the children of this thread, but for the one that looks at clusters for all tests of this worker."""
    text = Path("/proc/self/task", str(threading.get_native_id()), "children").read_text(encoding="ascii")
    return {int(pid) for pid in text.split()} - looker.pids()
