"""What surrounds a start does not matter: modules that lie where it is called, blocked signals, a later stop."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snsnode.base.errors import EXIT_CONFIG
from tests.chaos.hooks import Hooks
from tests.cluster import COMMAND_MAX_S, Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.integration

SOON_S = 15.0  # a start waits 30 s for a role that may yet serve
PLANTED = "raise SystemExit('a module of the working directory was imported')\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(start=False) as generated:
        yield generated


def plant(folder: Path) -> None:
    for name in ("supervisor", "snsnode", "grpc"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "__init__.py").write_text(PLANTED)
    for name in ("json", "logging", "sqlite3"):
        (folder / f"{name}.py").write_text(PLANTED)


@contextmanager
def deaf() -> Iterator[None]:
    """Let what is started here have SIGTERM and SIGCHLD blocked, and SIGUSR2 ignored."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD))
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR2, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def signals_of(pid: int, what: str) -> set[int]:
    """Return the signals of one line of /proc/PID/status, proc(5): SigBlk or SigIgn."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            mask = int(line.split()[1], 16)
            return {number for number in range(1, 65) if mask >> (number - 1) & 1}
    raise AssertionError(what)


def test_modules_where_it_is_called_and_where_roles_run_are_not_imported(cluster: Cluster) -> None:
    for vm in cluster.vms:
        plant(cluster.vm_dir(vm).path)
    # An empty entry of PYTHONPATH is the working directory: a role's, too.
    cluster.ctl("start", environment={"PYTHONPATH": f":{cluster.folder / 'nothing'}"})
    cluster.stop()
    plant(cluster.folder)
    cluster.ctl("start", "router")


def test_what_is_started_with_signals_blocked_or_ignored_takes_them(cluster: Cluster) -> None:
    cluster.stop()
    with deaf():
        cluster.ctl("start", "router")
        by_hand = subprocess.run(
            [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(cluster.conf("vm2"))],
            cwd=cluster.folder,
            env=cluster.environment,
            timeout=COMMAND_MAX_S,
            check=False,
        )
    assert by_hand.returncode == 0
    cluster.start()
    roles = [("vm1", "router"), *(("vm2", role) for role in ("slave", "master", "spare"))]
    pids = {f"{vm} {role}": cluster.pid(vm, role) for vm, role in roles}
    for vm in ("vm1", "vm2"):
        supervisord = cluster.supervisord(vm)
        assert supervisord is not None
        pids[f"{vm} supervisord"] = supervisord.pid
    ours = {signal.SIGTERM, signal.SIGCHLD}
    assert not {name for name, pid in pids.items() if signals_of(pid, "SigBlk") & ours}
    assert not {name for name, pid in pids.items() if signal.SIGUSR2 in signals_of(pid, "SigIgn")}
    began_s = time.monotonic()
    cluster.stop()
    assert time.monotonic() - began_s < SOON_S


SILENT = """
import socket, time

_look_up = socket.getaddrinfo

def _silent(host, *more, **options):
    if str(host).endswith(".invalid"):
        time.sleep(600)
    return _look_up(host, *more, **options)

socket.getaddrinfo = _silent
"""


def test_silent_name_service_holds_nobody_up_whose_address_is_known() -> None:
    with running(start=False) as cluster:
        hooks = cluster.folder / "hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(SILENT)
        lines = [
            f"  far{number}: {{address: far{number}.invalid, router: {{port: 3010}}}}" for number in (1, 2, 3)
        ]
        cluster.spec.write_text(cluster.spec.read_text() + "\n".join(lines) + "\n")
        cluster.generate()
        began_s = time.monotonic()
        done = cluster.ctl("start", environment={"PYTHONPATH": str(hooks)}, code=1)
        assert time.monotonic() - began_s < SOON_S
        assert "vm2 slave: up" in done.stdout
        assert "cannot look up the addresses of far1 (far1.invalid), far2 (far2.invalid), far3" in done.stderr
        said = cluster.ctl("doctor", environment={"PYTHONPATH": str(hooks)}, code=1).stdout
        assert "address far3.invalid: cannot be resolved" in said
        # Nobody has seen where far1 lives.
        said = cluster.ctl("why", "far1", environment={"PYTHONPATH": str(hooks)}, code=2).stderr
        assert "its address, far1.invalid, cannot be looked up" in said
        said = cluster.ctl("restart", "router", environment={"PYTHONPATH": str(hooks)}, code=1).stderr
        assert "far3.invalid); what of them lives here was not restarted" in said
        assert cluster.process("vm2", "master") is not None


def test_a_name_that_leads_nowhere_is_not_said_to_be_on_another_machine() -> None:
    with running(start=False) as cluster:
        cluster.spec.write_text(cluster.spec.read_text() + "  far: {address: far.invalid, router: {port: 3010}}\n")
        cluster.generate()
        assert "what of them lives here was not started" in cluster.ctl("start", code=1).stderr
        said = cluster.ctl("status", code=None).stdout
        assert "their address could not be looked up: far" in said
        assert "its address cannot be looked up" in said
        assert "on other machines" not in said and "on another machine" not in said


def test_start_that_a_stop_overtakes_says_so_at_once() -> None:
    with running(start=False) as cluster:
        Hooks(cluster).hang("master")
        command = [sys.executable, "-P", "-m", "snsnode.cli.main", "start", "--spec", str(cluster.spec)]
        with subprocess.Popen(
            [*command, "--home", str(cluster.home)],
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as start:
            eventually(lambda: cluster.process("vm2", "slave") is not None, 20)
            cluster.stop()
            began_s = time.monotonic()
            _, said = start.communicate(timeout=COMMAND_MAX_S)
            assert time.monotonic() - began_s < SOON_S
        assert start.returncode == 1
        assert "cannot start the slave of vm2: somebody stopped it meanwhile" in said
        assert "STATE" not in said and "Traceback" not in said


def test_a_supervisord_in_the_foreground_writes_nothing_for_others(cluster: Cluster) -> None:
    """It keeps its umask there; a pid file that others may write to would have the home refused."""
    cluster.stop()
    command = [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(cluster.conf("vm2"))]
    with subprocess.Popen(command, env=cluster.environment, stdout=subprocess.DEVNULL, umask=0) as by_hand:
        pid_file = cluster.vm_dir("vm2").supervisor_pid
        try:
            eventually(pid_file.exists, within_s=SOON_S)
            assert pid_file.stat().st_mode & 0o022 == 0
        finally:
            by_hand.terminate()


def test_neither_supervisord_nor_a_role_runs_in_a_home_that_others_may_write_to(cluster: Cluster) -> None:
    cluster.stop()
    folder = cluster.vm_dir("vm1").path
    planted = folder.parent / "planted"
    (folder / "local" / "planted.conf").write_text(f"[program:planted]\ncommand = touch {planted}\n")
    commands = (
        [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(cluster.conf("vm1"))],
        [sys.executable, "-P", "-m", "snsnode.router", "vm1"],
    )
    cluster.home.chmod(0o777)
    try:
        for command in commands:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=COMMAND_MAX_S, check=False
            )
            assert done.returncode == EXIT_CONFIG
            assert f"others may write to {cluster.home}" in done.stderr
    finally:
        cluster.home.chmod(0o700)
        (folder / "local" / "planted.conf").unlink()
    assert not planted.exists()
