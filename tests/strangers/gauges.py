"""What a cluster is like from outside: its processes, their memory, its logs, and whether ``status`` is true."""

import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snsnode.node.process import Identity, identify
from tests.cluster import Cluster

MIB = 1024 * 1024
SAMPLE_EVERY_S = 0.25
STATUS_EVERY_S = 4.0
MEMORY_MAX_MIB = 6 * 1024  # the machine is not ours alone: an attack that makes a process outgrow this ends
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def roles(cluster: Cluster) -> dict[str, Identity]:
    """Return every process of the cluster by "VM ROLE"."""
    found: dict[str, Identity] = {}
    for vm in cluster.vms:
        names = ["router"] if vm in cluster.router_vms else ["slave", "master", *(["spare"] * cluster.spare)]
        for name in names:
            process = cluster.process(vm, name)
            if process is not None:
                found[f"{vm} {name}"] = process
        supervisord = cluster.supervisord(vm)
        if supervisord is not None:
            found[f"{vm} supervisord"] = supervisord
    return found


def memory_mib(process: Identity) -> int:
    """Return what a process has in memory; 0 where it is gone."""
    try:
        if identify(process.pid) != process:
            return 0
        return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * _PAGE_BYTES // MIB
    except (OSError, IndexError):
        return 0


def log_bytes(cluster: Cluster) -> int:
    """Return how much all logs of the cluster hold."""
    return sum(log.stat().st_size for log in cluster.home.glob("*/log/*") if log.is_file())


def first_lines(cluster: Cluster) -> dict[Path, str]:
    """Return how each log begins that holds something."""
    return {log: line for log in cluster.home.glob("*/log/*.log") if (line := first_line(log))}


def first_line(log: Path) -> str:
    """Return how a log begins."""
    with log.open(errors="replace") as lines:
        return lines.readline()


@dataclass(slots=True)
class Watch:
    """Looks at a cluster from a thread of its own until ``end``."""

    cluster: Cluster
    at_most_mib: dict[str, int] = field(default_factory=dict)
    lies: list[str] = field(default_factory=list)  # where ``status`` was not true
    doubts: int = 0  # where it could not ask somebody who lives, and said so
    looks: int = 0
    slowest_status_s: float = 0.0
    too_large: threading.Event = field(default_factory=threading.Event)
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Begin to look."""
        for number, look in enumerate((self._sample, self._ask)):
            thread = threading.Thread(target=look, name=f"watch-{number}")
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        """Look no more."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _sample(self) -> None:
        while not self._ending.wait(SAMPLE_EVERY_S):
            for name, process in roles(self.cluster).items():
                used = memory_mib(process)
                self.at_most_mib[name] = max(self.at_most_mib.get(name, 0), used)
                if used > MEMORY_MAX_MIB:
                    self.too_large.set()

    def _ask(self) -> None:
        while not self._ending.wait(STATUS_EVERY_S):
            self.look()

    def look(self) -> None:
        """Ask ``snsctl status --json`` once, and compare it with what is so."""
        before, begun_s = roles(self.cluster), time.monotonic()
        done = self.cluster.ctl("status", "--json", code=None)
        self.slowest_status_s = max(self.slowest_status_s, time.monotonic() - begun_s)
        self.looks += 1
        try:
            told = json.loads(done.stdout)
        except ValueError:
            self.lies.append(f"no JSON: {done.stdout[:200]}{done.stderr[:200]}")
            return
        self.doubts += any(server["state"] == "SUSPECT" for server in told["servers"])
        self.lies += wrong(told, done.returncode, [before, roles(self.cluster)], self.cluster)


def wrong(told: dict[str, Any], code: int, seen: list[dict[str, Identity]], cluster: Cluster) -> list[str]:
    """Return what ``status`` said that is not so; ``seen`` are the processes before and after it was asked."""
    found = []
    servers = {server["vm"]: server for server in told["servers"]}
    if set(servers) != set(cluster.server_vms):
        found.append(f"servers: {sorted(servers)}")
    for vm, server in servers.items():
        for role in ("master", "slave"):
            pids = {each[f"{vm} {role}"].pid if f"{vm} {role}" in each else None for each in seen}
            between = {None} if len(pids) > 1 else set()  # one died, and the next was not there yet
            if server[role]["pid"] not in pids | between:
                found.append(f"{vm} {role}: pid {server[role]['pid']}, and it is {pids}")
    states = [server["state"] for server in servers.values()]
    # The same processes, before and after, were there all the time.
    if seen[0] == seen[1] and len(seen[0]) == _all(cluster) and "DOWN" in states:
        found.append(f"all processes live, and it says {states}")
    if code == 0 and (states.count("AVAILABLE") != 1 or "DOWN" in states):
        found.append(f"exit 0 with {states}")
    return found


def _all(cluster: Cluster) -> int:
    pairs = len(cluster.server_vms) * (3 if cluster.spare else 2)
    return pairs + len(cluster.router_vms) + len(cluster.vms)
