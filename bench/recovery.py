"""How fast a pair recovers under a calling client: python bench/recovery.py [--n N] [--json] [CASE…]

Each case breaks one server N times while a client calls without a pause, and reports three times from the
fault: ``detected`` (the partner's journal), ``serving`` (the successor's journal), ``client`` (the client's first
answered call). The baselines run the very same master without its slave: under plain supervisord
(autorestart=true), under circus (where circusd is on PATH), and in a bare shell loop, the floor of a cold
restart. Compare ratios of one run.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TextIO

from cluster import BenchCluster
from figures import summary

from snsnode.base.signals import exit_on_signals
from snsnode.client import Client

SETTLE_S = 1.2  # between faults: a client backs off from a server that it loses within a second
FAULT_WITHIN_S = 60.0

# Deadlocks the interpreter on SIGUSR2: a C call that keeps the GIL, so that no Python thread runs any more.
DEADLOCK = """
import ctypes, signal
def _deadlock(*_):
    ctypes.PyDLL(None).sleep(120)
signal.signal(signal.SIGUSR2, _deadlock)
"""


@dataclass
class Times:
    """What one case measured, in milliseconds."""

    detected: list[float] = field(default_factory=list)
    serving: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    failed_calls: int = 0

    def summary(self) -> dict[str, object]:
        """Return p50, p99 and max of each."""
        rows: dict[str, object] = {"n": len(self.client), "failed_calls": self.failed_calls}
        for name in ("detected", "serving", "client"):
            if values := getattr(self, name):
                rows[name] = summary(values)
        return rows


class Caller:
    """Calls without a pause, and knows when the last answered call began."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answered = asyncio.Condition()
        self._began_s = 0.0
        self._ended_s = 0.0
        self.failed = 0

    async def run(self) -> None:
        """Call for ever."""
        while True:
            began_s = time.monotonic()
            try:
                await self._client.list()
            except Exception as error:  # noqa: BLE001 - counted: a failed call is a result
                self.failed += 1
                print(f"a call failed: {error}", file=sys.stderr)
                continue
            async with self._answered:
                self._began_s, self._ended_s = began_s, time.monotonic()
                self._answered.notify_all()
            await asyncio.sleep(0.001)

    async def first_after(self, gone_s: float) -> float:
        """Return when the first call that began after ``gone_s`` was answered.

        One that began before may have been answered by the victim, and its answer read after its death.
        """
        async with self._answered:
            await self._answered.wait_for(lambda: self._began_s > gone_s)
            return self._ended_s


async def measure(
    cluster: BenchCluster, n: int, fault: Callable[[str], list[str]], *, spare: bool, victim: str = "master"
) -> Times:
    """Break ``s1`` ``n`` times by ``fault``, which returns the journal events that mean detection and service."""
    times = Times()
    async with Client([cluster.router], username="bench", deadline_s=FAULT_WITHIN_S) as client:
        caller = Caller(client)
        calling = asyncio.create_task(caller.run())
        for _ in range(n):
            await asyncio.to_thread(cluster.wait_steady, "s1", spare=spare)
            await asyncio.sleep(SETTLE_S)
            before = cluster.pid("s1", victim)
            wall_s, fault_s = time.time(), time.monotonic()
            down, up = fault("s1")
            if victim == "master":
                # An answer that the victim still gave counts for nothing: wait until it is gone.
                while cluster.pid("s1", "master") == before:
                    await asyncio.sleep(0.0005)
                gone_s = time.monotonic()
                times.client.append((await caller.first_after(gone_s) - fault_s) * 1000)
            else:
                while cluster.pid("s1", victim) in (None, before):
                    await asyncio.sleep(0.002)
                times.client.append((time.monotonic() - fault_s) * 1000)
            await asyncio.sleep(0.02)
            times.detected += _after(cluster, wall_s, down)
            times.serving += _after(cluster, wall_s, up)
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calling
        times.failed_calls = caller.failed
    return times


def _after(cluster: BenchCluster, wall_s: float, event: str) -> list[float]:
    for entry in cluster.journal("s1"):
        at_s = datetime.fromisoformat(str(entry["at"])).timestamp()
        if entry["event"] == event and at_s >= wall_s - 0.001:
            return [max(0.0, (at_s - wall_s) * 1000)]
    return []


def pair_case(
    n: int, signals: list[tuple[str, signal.Signals]], *, spare: bool = True, victim: str = "master", down: str
) -> Times:
    """Measure a pair: send ``signals`` to the roles named."""
    with tempfile.TemporaryDirectory() as hooks:
        (Path(hooks) / "sitecustomize.py").write_text(DEADLOCK)
        with BenchCluster(spare=spare, env={"PYTHONPATH": hooks}) as cluster:

            def fault(vm: str) -> list[str]:
                for pid, signum in [(cluster.pid(vm, holder), signum) for holder, signum in signals]:
                    if pid is not None:
                        os.kill(pid, signum)
                return [down, "slave-started" if victim == "slave" else "serving"]

            return asyncio.run(measure(cluster, n, fault, spare=spare, victim=victim))


def baseline_case(n: int, how: str) -> Times:
    """Measure the same master, restarted by ``how`` instead of by its slave."""
    with BenchCluster(spare=False) as cluster:
        cluster.ctl("stop", "slave")
        cluster.ctl("stop", "master")
        folder = cluster.home / "s1"
        (folder / "state" / "master.stopped").unlink()
        runner = {"supervisord": _supervisord, "circus": _circus, "shell-loop": _shell_loop}[how](folder)
        try:

            def fault(vm: str) -> list[str]:
                os.kill(cluster.pid(vm, "master") or 0, signal.SIGKILL)
                return ["none", "serving"]

            async def run() -> Times:
                while cluster.pid("s1", "master") is None:
                    await asyncio.sleep(0.01)
                return await _measure_alone(cluster, n, fault)

            return asyncio.run(run())
        finally:
            os.killpg(runner.pid, signal.SIGTERM)
            runner.wait()
            pid = cluster.pid("s1", "master")
            if pid:
                os.kill(pid, signal.SIGKILL)


async def _measure_alone(cluster: BenchCluster, n: int, fault: Callable[[str], list[str]]) -> Times:
    cluster.wait_steady = lambda vm, *, spare, within_s=30.0: _wait_master(cluster, vm)  # type: ignore[method-assign]
    return await measure(cluster, n, fault, spare=False)


def _wait_master(cluster: BenchCluster, vm: str) -> None:
    while cluster.pid(vm, "master") is None:
        time.sleep(0.01)


def _supervisord(folder: Path) -> "subprocess.Popen[bytes]":
    conf = folder / "baseline.conf"
    conf.write_text(
        f"[supervisord]\nnodaemon=true\npidfile={folder}/run/baseline.pid\nlogfile={folder}/log/baseline.log\n"
        f"[program:master]\ncommand={sys.executable} -P -m snsnode.master s1\ndirectory={folder}\n"
        "autorestart=true\nstartsecs=0\n"
    )
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(conf)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _circus(folder: Path) -> "subprocess.Popen[bytes]":
    circusd = shutil.which("circusd")
    if circusd is None:
        raise SystemExit("circusd is not on PATH: pip install circus in an environment of its own, and add it")
    first = 20000 + os.getpid() % 7000
    conf = folder / "circus.ini"
    conf.write_text(
        f"[circus]\nendpoint = tcp://127.0.0.1:{first}\npubsub_endpoint = tcp://127.0.0.1:{first + 1}\n"
        f"[watcher:master]\ncmd = {sys.executable} -P -m snsnode.master s1\nworking_dir = {folder}\n"
        "copy_env = True\nmax_retry = -1\n"
    )
    return subprocess.Popen(
        [circusd, str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _shell_loop(folder: Path) -> "subprocess.Popen[bytes]":
    loop = f'while :; do "{sys.executable}" -P -m snsnode.master s1; done'
    return subprocess.Popen(
        ["/bin/sh", "-c", loop],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


KILL, STOP, DEADLOCKED = signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR2
CASES: dict[str, Callable[[int], Times]] = {
    "killed-warm": lambda n: pair_case(n, [("master", KILL)], down="master-down"),
    "killed-cold": lambda n: pair_case(n, [("master", KILL)], spare=False, down="master-down"),
    "stopped": lambda n: pair_case(n, [("master", STOP)], down="master-down"),
    "deadlocked": lambda n: pair_case(n, [("master", DEADLOCKED)], down="master-down"),
    "both-die": lambda n: pair_case(n, [("slave", KILL), ("master", KILL)], down="rescue"),
    "slave-killed": lambda n: pair_case(n, [("slave", KILL)], victim="slave", down="slave-down"),
    "supervisord": lambda n: baseline_case(n, "supervisord"),
    "circus": lambda n: baseline_case(n, "circus"),
    "shell-loop": lambda n: baseline_case(n, "shell-loop"),
}
BASELINES = ("supervisord", "circus", "shell-loop")


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "cases", nargs="*", default=[], metavar="CASE", help=f"of {', '.join(CASES)}; default: all"
    )
    parser.add_argument("--n", type=int, default=50, help="faults in each case (default 50)")
    parser.add_argument("--n-baseline", type=int, help="faults in each baseline (default: as --n)")
    parser.add_argument("--busy", action="store_true", help="keep every core busy meanwhile")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    burners = [
        subprocess.Popen([sys.executable, "-P", "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1 if arguments.busy else 0)
    ]
    results: dict[str, dict[str, object]] = {}
    try:
        chosen = arguments.cases or [name for name in CASES if name != "circus" or shutil.which("circusd")]
        for name in chosen:
            n = arguments.n_baseline if name in BASELINES and arguments.n_baseline else arguments.n
            results[name] = CASES[name](n).summary()
            # A long run that is cut short has shown what it had.
            _print_row(name, results[name], sys.stderr if arguments.json else sys.stdout)
    finally:
        for burner in burners:
            burner.kill()
    if arguments.json:
        print(json.dumps(results))


def _print_row(name: str, row: dict[str, object], to: TextIO) -> None:
    cells = [f"{name:14}", f"n={row['n']}", f"failed={row['failed_calls']}"]
    for part in ("detected", "serving", "client"):
        if part in row:
            values = row[part]
            assert isinstance(values, dict)
            cells.append(f"{part} {values['p50']}/{values['p99']}/{values['max']}")
    print("  ".join(cells), file=to, flush=True)


if __name__ == "__main__":
    with exit_on_signals():  # what it started is ended, too
        main()
