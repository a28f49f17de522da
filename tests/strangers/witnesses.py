"""Who use the network while it is attacked, each a process of its own: a newcomer and a bystander.

Both use the library as any program would. The bystander stays logged in and calls without a pause; a newcomer logs
in, posts and leaves, each second anew, so what it waits for is what anybody would who comes just then.
"""

import subprocess
import sys
from dataclasses import dataclass

from tests.fuzz.messages import Bystander

__all__ = ["Bystander", "Newcomers", "Visit"]

DEADLINE_S = 30.0  # as the library has it
_NEWCOMER = """
import sys, threading, time
from snsnode.base.errors import SnsError
from snsnode.client import SyncClient
ending = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), ending.set()), daemon=True).start()
print("ready", flush=True)
number = 0
while not ending.is_set():
    begun_s, failed = time.monotonic(), ""
    try:
        with SyncClient(sys.argv[2:], username=f"{sys.argv[1]}{number}") as client:
            client.post("hello")
            served_s = time.monotonic()
    except SnsError as error:
        served_s, failed = time.monotonic(), f"{error.code}: {error.message}"
    print(begun_s, served_s - begun_s, failed, flush=True)
    number += 1
    ending.wait(max(0.0, begun_s + 1.0 - time.monotonic()))
"""


@dataclass(frozen=True, slots=True)
class Visit:
    """One newcomer: when it came, how long until its post was acknowledged, and why it failed."""

    begun_s: float
    took_s: float
    failed: str


class Newcomers:
    """One newcomer after the other, one a second; none comes before the last has been served or has given up."""

    def __init__(self, name: str, routers: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _NEWCOMER, name, *routers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """End it however it is; safe after ``end``."""
        self._process.kill()
        self._process.wait()

    def end(self) -> list[Visit]:
        """Let the last one finish, and return all."""
        said, _ = self._process.communicate("end\n", timeout=2 * DEADLINE_S)
        return [_visit(line) for line in said.splitlines()]


def _visit(line: str) -> Visit:
    begun, took, failed = line.split(" ", 2)
    return Visit(float(begun), float(took), failed)
