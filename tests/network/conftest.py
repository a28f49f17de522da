"""Every network test runs on the networks that ``choice`` gives it, and is bounded in time."""

from collections.abc import Iterator

import pytest

from tests.chaos.conftest import bounded_in_time
from tests.network import choice
from tests.network.cluster import NetworkCluster, joined

__all__ = ["bounded_in_time"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_networks: runs on namespaces and on proxies")
    config.addinivalue_line("markers", "needs_proxies: does what only proxies can do")
    config.addinivalue_line("markers", "needs_namespaces: does what only namespaces can do")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" not in metafunc.fixturenames:
        return
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    needed = next((kind for kind in choice.KINDS if f"needs_{kind}" in marks), None)
    kinds = [choice.only(needed)] if needed else choice.kinds(on_both="both_networks" in marks)
    metafunc.parametrize("kind", kinds, scope="module")


@pytest.fixture(scope="module")
def cluster(kind: str) -> Iterator[NetworkCluster]:
    """A router, two servers and two client VMs; what a test cuts it heals again."""
    with joined(kind) as made:
        yield made
