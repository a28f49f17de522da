"""A slave reports a death and the successor registers: another server becomes available, whichever comes first."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from snsnode.node import epoch
from snsnode.node.process import send_signal
from snsnode.pair.routers import TIMEOUT_S
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.integration
ROUNDS = 3


@contextmanager
def frozen_routers(cluster: Cluster) -> Iterator[None]:
    """Let both words wait at the routers, and the slave's first call time out."""
    frozen = [cluster.signal(vm, "router", signal.SIGSTOP) for vm in cluster.router_vms]
    try:
        yield
    finally:
        for router in frozen:
            send_signal(router, signal.SIGCONT)


def test_another_server_becomes_available_though_the_successor_is_quicker_than_the_report() -> None:
    with running(servers=2, routers=2) as cluster:
        for _ in range(ROUNDS):
            _kill_the_available(cluster)


def _kill_the_available(cluster: Cluster) -> None:
    cluster.await_spares()
    available = cluster.await_available()
    before = epoch.read(cluster.vm_dir(available))
    with frozen_routers(cluster):
        since_s = time.monotonic()
        cluster.kill(available, "master")
        eventually(lambda: epoch.read(cluster.vm_dir(available)) > before, 10)
        cluster.await_role(available, "master")
        eventually(lambda: time.monotonic() - since_s > 1.3 * TIMEOUT_S, 10)
    eventually(lambda: cluster.status()["available"] not in (None, available), 10)
