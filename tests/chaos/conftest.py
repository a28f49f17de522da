"""Every chaos test is bounded in time; its cluster checks that nothing is left."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

TEST_MAX_S = 120
LONG_MAX_S = 3600


@pytest.fixture(autouse=True)
def bounded_in_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs."""
    is_long = any(request.node.get_closest_marker(name) for name in ("chaos_long", "soak"))
    limit_s = LONG_MAX_S if is_long else TEST_MAX_S

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took more than {limit_s} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(limit_s)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
