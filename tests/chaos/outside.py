"""What anybody can see of a cluster from outside: who listens, who answers, with which pid and epoch.

The kernel's tables and the master's public KeepAlive; never the product's own pid files or status.
"""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from snsnode.rpc import master_pb2_grpc, server_pb2
from snsnode.transport.channels import CHANNEL_OPTIONS
from tests.cluster import Cluster

ANSWER_S = 0.5
FORK_S = 0.2
_LISTEN = "0A"  # the state column of /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Answer:
    """A KeepAlive that was answered on a master's port; ``at_s`` is when it was asked, monotonic."""

    at_s: float
    vm: str
    pid: int
    epoch: int


def listeners(port: int, among: Iterable[int] | None = None) -> set[int]:
    """Return the processes that listen on ``port``; ``among``: of these pids only, which is quicker."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return set()
    pids = among if among is not None else [int(p.name) for p in Path("/proc").glob("[0-9]*")]
    return {pid for pid in pids if not sockets.isdisjoint(_open_files(pid))}


def answer(cluster: Cluster, vm: str, timeout_s: float = ANSWER_S) -> Answer | None:
    """Return who answers KeepAlive on the port of ``vm``, None where nobody does within ``timeout_s``."""
    at_s = time.monotonic()
    with grpc.insecure_channel(f"127.0.0.1:{cluster.ports[vm]}", options=CHANNEL_OPTIONS) as channel:
        stub: Any = master_pb2_grpc.MasterStub(channel)
        try:
            reply = stub.KeepAlive(server_pb2.KeepAliveRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return None
    return Answer(at_s, vm, reply.pid, reply.epoch)


class Watcher:
    """Samples all servers from a thread of its own, and keeps what must never be seen."""

    def __init__(self, cluster: Cluster, every_s: float) -> None:
        self._cluster = cluster
        self._every_s = every_s
        self._ended = threading.Event()
        self.answers: list[Answer] = []
        self.problems: list[str] = []
        self.looks = 0

    def run(self) -> None:
        """Sample until ``end``."""
        while not self._ended.wait(self._every_s):
            for vm in self._cluster.server_vms:
                self._look(vm)

    def end(self) -> None:
        """Let ``run`` return."""
        self._ended.set()

    def _look(self, vm: str) -> None:
        self.looks += 1
        who = listeners(self._cluster.ports[vm], self._cluster.processes())
        if len(who) > 1:
            time.sleep(FORK_S)  # between fork and exec a child has the files of its parent
            who &= listeners(self._cluster.ports[vm], self._cluster.processes())
        if len(who) > 1:
            self.problems.append(f"{vm}: processes {sorted(who)} listen on its port at once")
        found = answer(self._cluster, vm)
        if found is not None:
            self.answers.append(found)


@contextmanager
def watching(cluster: Cluster, every_s: float = 0.05) -> Iterator[Watcher]:
    """Watch the cluster during the ``with`` block."""
    watcher = Watcher(cluster, every_s)
    thread = threading.Thread(target=watcher.run, name="outside-watcher")
    thread.start()
    try:
        yield watcher
    finally:
        watcher.end()
        thread.join()


def held_locks(cluster: Cluster) -> list[str]:
    """Return the role locks of the cluster that a process holds, by /proc/locks."""
    inodes = {str(path.stat().st_ino): path for path in cluster.home.glob("*/run/*.lock")}
    held: list[str] = []
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "FLOCK" in fields and (path := inodes.get(fields[-3].rpartition(":")[2])) is not None:
            held.append(str(path.relative_to(cluster.home)))
    return held


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found


def _open_files(pid: int) -> set[str]:
    links: set[str] = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                links.add(str(entry.readlink()))
    return links
