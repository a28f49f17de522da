"""A stop ends a supervisord however it was started and whatever became of its files, and no stranger."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from snsnode.control.supervisords import supervisords_of
from snsnode.node import intent
from tests.cluster import BIN, Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.integration

VM = "vm1"
SLEEPS = "import time\ntime.sleep(600)\n"
BOUND_S = 40.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(start=False) as generated:
        yield generated


@contextmanager
def process(cluster: Cluster, command: Sequence[str], where: Path) -> Iterator["subprocess.Popen[bytes]"]:
    started = subprocess.Popen(
        command, cwd=where, env=cluster.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait(30)


def ways(cluster: Cluster) -> dict[str, tuple[list[str], Path]]:
    """Return commands that run a supervisord of the VM in the foreground, and where."""
    renamed = cluster.folder / "svd"
    shutil.copy(BIN / "supervisord", renamed)
    conf = str(cluster.conf(VM))
    return {
        "elsewhere": ([str(BIN / "supervisord"), "-n", "-c", conf], Path("/")),
        "relative": ([str(BIN / "supervisord"), "-nc", f"{VM}/supervisord.conf"], cluster.home),
        "default": ([sys.executable, "-m", "supervisor.supervisord", "-n"], cluster.home / VM),
        "renamed": ([sys.executable, str(renamed), f"--conf={conf}", "-n"], Path("/")),
    }


@pytest.mark.parametrize("way", ["elsewhere", "relative", "default", "renamed"])
def test_supervisord_without_socket_and_pid_file_is_found_and_ended(cluster: Cluster, way: str) -> None:
    command, where = ways(cluster)[way]
    intent.start(cluster.vm_dir(VM), "router")
    with process(cluster, command, where) as supervisord:
        cluster.await_role(VM, "router", 20)
        for path in (*cluster.vm_dir(VM).run.glob("supervisor*"), cluster.vm_dir(VM).log("supervisord")):
            path.unlink()
        assert "vm1: stopped" in cluster.ctl("stop").stdout
        assert supervisord.poll() is not None
    cluster.assert_nothing_left()


def test_start_makes_no_second_one_beside_it(cluster: Cluster) -> None:
    command, where = ways(cluster)["elsewhere"]
    intent.start(cluster.vm_dir(VM), "router")
    with process(cluster, command, where) as supervisord:
        router = cluster.await_role(VM, "router", 20)
        for path in cluster.vm_dir(VM).run.glob("supervisor*"):
            path.unlink()
        cluster.ctl("start", "--vm", VM)
        assert supervisord.wait(10) is not None
        assert len(supervisords_of(cluster.home / VM)) == 1
        assert cluster.pid(VM, "router") == router
    cluster.stop()


def test_processes_that_only_look_like_ours_live_on(cluster: Cluster) -> None:
    script = cluster.folder / "supervisord"
    script.write_text(SLEEPS)
    folder = cluster.home / VM
    strangers = (
        [sys.executable, str(script)],
        [sys.executable, "-c", SLEEPS, "supervisord"],
        [sys.executable, "-c", SLEEPS, "-m", "snsnode.router", VM],
        [sys.executable, "-m", "snsnode.router", "of-another-vm"],
    )
    (folder / "snsnode").mkdir()
    (folder / "snsnode" / "router.py").write_text(SLEEPS)
    with (
        process(cluster, strangers[0], folder) as one,
        process(cluster, strangers[1], folder) as two,
        process(cluster, strangers[2], folder) as three,
        process(cluster, strangers[3], folder) as four,
    ):
        (folder / "run").mkdir(exist_ok=True)
        cluster.vm_dir(VM).supervisor_pid.write_text(f"{two.pid}\n")
        cluster.ctl("stop")
        assert [stranger.poll() for stranger in (one, two, three, four)] == [None] * 4
    shutil.rmtree(folder / "snsnode")


def test_what_may_be_its_supervisord_is_told_and_not_ended(cluster: Cluster) -> None:
    script = cluster.folder / "supervisord"
    script.write_text(SLEEPS)
    with process(cluster, [sys.executable, str(script), "-c", str(cluster.conf(VM))], Path("/")) as stranger:
        said = cluster.ctl("stop", code=1)
        assert f"process {stranger.pid} (" in said.stderr
        assert f"{VM}: stopped" not in said.stdout
        assert stranger.poll() is None


@pytest.mark.parametrize("what", [("stop",), ("stop", "router")])
def test_stop_against_somebody_who_starts_it_ever_anew_is_told_so(cluster: Cluster, what: tuple[str, ...]) -> None:
    (cluster.home / VM / "run").mkdir(exist_ok=True)
    loop = f'while :; do "{sys.executable}" -P -m snsnode.router {VM} 2>/dev/null; done'
    with process(cluster, ["bash", "-c", loop], cluster.home / VM) as respawner:
        eventually(lambda: f"snsnode.router {VM}" in str(cluster.processes()), 20)
        began_s = time.monotonic()
        said = cluster.ctl(*what, code=1).stderr
        assert time.monotonic() - began_s < BOUND_S
        assert f"process {respawner.pid} (bash" in said and "starts it again and again" in said
        os.kill(respawner.pid, signal.SIGKILL)
    cluster.stop()
    cluster.ctl("start", "--vm", VM)
    cluster.stop()
