"""Faults that no signal alone can cause, brought into every process of a cluster by a ``sitecustomize``.

Python imports that module at its start from ``PYTHONPATH``, so the roles themselves are the real ones.
"""

import os
import shutil
import signal
from pathlib import Path

from tests.chaos import recorder
from tests.cluster import Cluster

DEADLOCK = signal.SIGUSR2  # a C call that keeps the interpreter's lock: no Python thread runs any more
WEDGE = signal.SIGUSR1  # the event loop stands still, and threads run on

_SITECUSTOMIZE = """
import ctypes, os, signal, sys, time
from pathlib import Path

_here = Path(__file__).parent
_role = next((word.rpartition(".")[2] for word in sys.orig_argv if word.startswith("snsnode.")), "")

def _deadlock(*_):
    ctypes.PyDLL(None).sleep(600)

def _wedge(*_):
    time.sleep(600)

if _role in ("router", "master", "slave"):
    signal.signal(signal.SIGUSR2, _deadlock)
    signal.signal(signal.SIGUSR1, _wedge)
if _role and (_here / f"hang-{_role}").exists():
    time.sleep(600)
if _role and (_here / f"die-{_role}").exists():
    os._exit(1)
if _role in ("master", "slave") and (_here / "clock-jumps").exists():
    _wall, _wall_ns = time.time, time.time_ns

    def _jump_s():
        # gRPC makes a deadline of this time and hands it to its core at once, which has the real clock.
        if sys._getframe(2).f_globals.get("__name__", "").startswith("grpc"):
            return 0
        return 86_400 if int(time.monotonic() / 0.2) % 2 else -86_400

    time.time = lambda: _wall() + _jump_s()
    time.time_ns = lambda: _wall_ns() + _jump_s() * 1_000_000_000
if _role in ("master", "slave") and (_here / "start-deadline").exists():
    _deadline_s = float((_here / "start-deadline").read_text())
    import snsnode.guard.machine
    import snsnode.guard.times
    snsnode.guard.machine.START_S = snsnode.guard.times.START_S = _deadline_s
if (_here / "recordings").exists():
    import sns_recorder
    sns_recorder.install(_here / "recordings")
"""


class Hooks:
    """The hooks of one cluster; install them before it starts."""

    def __init__(self, cluster: Cluster) -> None:
        self._folder = cluster.folder / "hooks"
        self._folder.mkdir()
        (self._folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
        before = cluster.environment.get("PYTHONPATH", "")
        cluster.environment["PYTHONPATH"] = os.pathsep.join(part for part in (str(self._folder), before) if part)

    def hang(self, role: str) -> None:
        """Let every later process of ``role`` hang before it does anything."""
        (self._folder / f"hang-{role}").touch()

    def die(self, role: str) -> None:
        """Let every later process of ``role`` end with 1 before it does anything."""
        (self._folder / f"die-{role}").touch()

    def mend(self, role: str) -> None:
        """Let the next ones start."""
        for what in ("hang", "die"):
            (self._folder / f"{what}-{role}").unlink(missing_ok=True)

    def record(self) -> Path:
        """Record what the observers that start later see and do; return the folder of the recordings."""
        shutil.copy(recorder.__file__, self._folder / "sns_recorder.py")
        folder = self._folder / "recordings"
        folder.mkdir()
        return folder

    def jump_clock(self) -> None:
        """Let the wall clock of partners that start later jump by a day, forth and back, every 200 ms."""
        (self._folder / "clock-jumps").touch()

    def shorten_start_deadline(self, seconds: float) -> None:
        """Give partners that start later this long to become ready, instead of the product's 20 s."""
        (self._folder / "start-deadline").write_text(str(seconds))
