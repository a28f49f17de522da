"""Real processes for tests, that end with the ``with`` block, and what the kernel says of them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snsnode.node.process import Identity, identify
from tests.eventually import eventually

STEP_S = 10.0


class Sleeper:
    """A process that runs ``program`` until its ``hold()``, and then waits for its standard input to end."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        identity = identify(process.pid)
        assert identity is not None
        self.identity: Identity = identity

    @property
    def state(self) -> str:
        """The state letter, also of a zombie; "" where it is gone."""
        try:
            return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return ""

    def signal(self, signum: int, then: str) -> None:
        """Send a signal and wait for the state letter that follows."""
        self.process.send_signal(signum)
        eventually(lambda: self.state == then, within_s=STEP_S)


@contextmanager
def sleeper(program: str = "", *arguments: str) -> Iterator[Sleeper]:
    """Run a program that is given ``hold()``, which says that it is ready and waits."""
    text = "import sys\ndef hold():\n    print('ready', flush=True)\n    sys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{text}{program or 'hold()'}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the program failed before it was ready"
        yield Sleeper(process)
    finally:
        process.kill()
        process.communicate(timeout=STEP_S)
