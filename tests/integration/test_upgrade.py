"""The version before and this one beside each other, in short; ``python -m tests.upgrade`` does all of it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bounds import deadline
from tests.upgrade.scenarios import beside
from tests.upgrade.store import Place
from tests.upgrade.versions import RELEASED, Version, build, has

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not has(RELEASED), reason=f"this clone lacks version 0.1.0 ({RELEASED[:7]}): git fetch --unshallow"
    ),
]


@pytest.fixture(autouse=True)
def bounded_in_time() -> Iterator[None]:
    with deadline(240):
        yield


@pytest.fixture
def versions() -> Iterator[tuple[Version, Version]]:
    with tempfile.TemporaryDirectory(prefix="sns-versions-") as name:
        old = build(RELEASED, Path(name) / "old", shared=True)
        yield old, build(None, Path(name) / "new", shared=True)


def test_old_and_new_serve_beside_each_other_and_the_new_one_is_taken_back(
    versions: tuple[Version, Version],
) -> None:
    outcome = beside(Place("SQLite"), *versions)
    print("\n".join(outcome.lines()))
    assert not outcome.problems
    assert set(outcome.posts) == {"0.1.0", versions[1].number}
    assert all(outcome.posts.values())
