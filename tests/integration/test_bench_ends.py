"""What starts a cluster of its own ends it when it is told to end, whoever tells it and by whatever signal."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from snsnode.node.ending import kill_and_wait
from snsnode.node.process import Identity, identify
from tests.eventually import eventually

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def processes(folder: str) -> list[Identity]:
    """Return the live processes that work in ``folder``, or below it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            where = str((entry / "cwd").readlink())
        except OSError:
            continue
        identity = identify(int(entry.name)) if where.startswith(folder) else None
        if identity is not None:
            found.append(identity)
    return found


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (["bench/failover.py", "--n", "1000"], signal.SIGTERM),
        (["-m", "tests.chaos.soak", "--faults", "1000", "--seed", "1"], signal.SIGHUP),
    ],
)
def test_cluster_ends_with_what_started_it(command: list[str], number: signal.Signals) -> None:
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        environment = os.environ | {"TMPDIR": folder}
        with subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as program:
            try:
                eventually(lambda: len(processes(folder)) >= 3, 40)
                program.send_signal(number)
                program.send_signal(number)  # as "timeout" does
                assert program.wait(60) != 0
                assert processes(folder) == []
            finally:
                program.kill()
                for left in processes(folder):
                    kill_and_wait(left, 5)
