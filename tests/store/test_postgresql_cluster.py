"""A whole cluster over a primary and its synchronous standby: it rides their failovers, and clients' calls finish.

Two masters serve at once, so that what is posted at one appears on the timeline that is open at the other.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bounds import deadline
from tests.chaos.workload import calling
from tests.cluster import Cluster, running
from tests.postgresql_rig import PASSWORD, Postgresql, both_url, running_pair

pytestmark = pytest.mark.chaos

WHILE_S = 1.5  # of work before and after each fault


@pytest.fixture(autouse=True)
def bounded_in_time() -> Iterator[None]:
    """A cluster and two database servers take their time to start, beside other tests."""
    with deadline(240):
        yield


@pytest.fixture
def pair() -> Iterator[tuple[Postgresql, Postgresql]]:
    with running_pair() as (primary, standby):
        yield primary, standby


@pytest.fixture
def url(pair: tuple[Postgresql, Postgresql]) -> str:
    return both_url(*pair, database=pair[0].make_database())


@pytest.fixture
def cluster(url: str) -> Iterator[Cluster]:
    with running(servers=2, more=f"selection: spread\nstore: {url}") as cluster:
        yield cluster


def test_primary_killed_and_promoted_under_clients(
    cluster: Cluster, url: str, pair: tuple[Postgresql, Postgresql]
) -> None:
    primary, standby = pair
    masters = [cluster.pid(vm, "master") for vm in cluster.server_vms]

    def act() -> None:
        time.sleep(WHILE_S)
        primary.kill()
        standby.promote()
        time.sleep(WHILE_S)

    work = calling(cluster, act, url)
    print(f"{len(work.acknowledged)} posts, the slowest call {work.slowest_s:.2f} s")
    assert masters == [cluster.pid(vm, "master") for vm in cluster.server_vms], "a master died of it"


def test_primary_hung_and_a_master_killed_under_clients(
    cluster: Cluster, url: str, pair: tuple[Postgresql, Postgresql]
) -> None:
    primary, standby = pair

    def act() -> None:
        time.sleep(WHILE_S)
        primary.hang()
        cluster.kill("vm2", "master")
        standby.promote()
        time.sleep(WHILE_S)
        cluster.await_role("vm2", "master")
        primary.thaw()
        time.sleep(WHILE_S)

    work = calling(cluster, act, url)
    print(f"{len(work.acknowledged)} posts, the slowest call {work.slowest_s:.2f} s")


def test_no_file_command_line_or_log_shows_the_password(cluster: Cluster) -> None:
    shown = [path for path in cluster.folder.rglob("*") if path.is_file() and _holds(path)]
    assert not shown
    for pid in [*cluster.processes(), os.getpid()]:
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "takes writes, PostgreSQL" in cluster.ctl("doctor", code=None).stdout


def _holds(path: Path) -> bool:
    return PASSWORD.encode() in path.read_bytes()
