"""Runs ``snsctl`` and roles on what was mutated, and looks at how they end."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.fuzz.report import TOOK_MAX_S, Report

WALL_MAX_S = 60.0  # only a protecting bound: the process's own time is what counts
START_CPU_S = 1.0  # of the interpreter and the imports, on a slow machine


def run(report: Report, seed: int, arguments: list[str], cwd: Path, allowed: tuple[int, ...]) -> None:
    """Run ``snsctl`` with ``arguments``; another exit code, a traceback or a long time is a finding."""
    command = [sys.executable, "-P", "-m", "snsnode.cli.main", *arguments]
    run_command(report, seed, command, cwd, allowed, " ".join(["snsctl", arguments[0]]))


def run_command(
    report: Report,
    seed: int,
    command: list[str],
    cwd: Path,
    allowed: tuple[int, ...],
    name: str,
    term_after_s: float | None = None,
) -> None:
    """Run ``command``, and end it by SIGTERM where it is one that would go on."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        timers = [threading.Timer(WALL_MAX_S, process.kill)]
        if term_after_s is not None:
            timers.append(threading.Timer(term_after_s, process.send_signal, (signal.SIGTERM,)))
        for timer in timers:
            timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for timer in timers:
            timer.cancel()
        output.seek(0)
        said = output.read(1 << 20).decode(errors="replace")
    took_s = max(0.0, usage.ru_utime + usage.ru_stime - START_CPU_S)
    if process.returncode not in allowed or "Traceback" in said:
        report.found(seed, f"{name} exited with {process.returncode}: {said[-1500:]}")
    report.took(seed, min(took_s, TOOK_MAX_S * 10), f"{name} exit {process.returncode}")


def remove(path: Path) -> None:
    """Remove whatever stands at ``path``."""
    with contextlib.suppress(FileNotFoundError):
        try:
            path.unlink()
        except (IsADirectoryError, PermissionError):
            shutil.rmtree(path)
