"""Every chaos test is bounded in time; its cluster checks that nothing is left."""

from collections.abc import Iterator

import pytest

from tests.bounds import deadline

TEST_MAX_S = 120
LONG_MAX_S = 3600


@pytest.fixture(autouse=True)
def bounded_in_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs."""
    is_long = any(request.node.get_closest_marker(name) for name in ("chaos_long", "soak"))
    with deadline(LONG_MAX_S if is_long else TEST_MAX_S):
        yield
