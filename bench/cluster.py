"""A throw-away cluster for measuring: a home of its own, free ports, real supervisords."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SNSCTL = [sys.executable, "-P", "-m", "snsnode.cli.main"]


class BenchCluster:
    """``routers`` routers and ``servers`` servers on this machine; a context manager."""

    def __init__(
        self, servers: int = 1, *, routers: int = 1, spare: bool = True, env: dict[str, str] | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sns-bench-")
        self.home = Path(self._folder.name) / "var"
        self.spec = Path(self._folder.name) / "spec.yaml"
        self._env = os.environ | (env or {})
        ports = _free_ports(routers + servers)
        self.routers = [f"127.0.0.1:{port}" for port in ports[:routers]]
        self.router = self.routers[0]
        self.servers = [f"s{index}" for index in range(1, servers + 1)]
        self._ports = dict(zip(self.servers, ports[routers:], strict=True))
        lines = [
            "cluster: bench",
            f"spare: {str(spare).lower()}",
            "restart: {intensity: 10000, period: 1s}",  # measured is the first, immediate restart
            "vms:",
        ]
        lines += [
            f"  r{index}: {{address: 127.0.0.1, router: {{port: {port}}}}}"
            for index, port in enumerate(ports[:routers], 1)
        ]
        lines += [f"  {vm}: {{address: 127.0.0.1, server: {{port: {port}}}}}" for vm, port in self._ports.items()]
        self.spec.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> "BenchCluster":
        try:
            self.ctl("generate")
            self.ctl("start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.ctl("stop")
        self._folder.cleanup()

    def ctl(self, *arguments: str) -> str:
        """Run ``snsctl``; its output."""
        command = [*SNSCTL, *arguments, "--spec", str(self.spec), "--home", str(self.home)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=self._env, check=False)
        if done.returncode:
            raise SystemExit(f"snsctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def address(self, vm: str) -> str:
        """Return where a server listens."""
        return f"127.0.0.1:{self._ports[vm]}"

    def pid(self, vm: str, holder: str) -> int | None:
        """Return the live pid of a role or of the spare, None where there is none."""
        try:
            pid = int((self.home / vm / "run" / f"{holder}.pid").read_text().split()[0])
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError, IndexError):
            return None
        return None if state in "ZX" else pid

    def wait_steady(self, vm: str, *, spare: bool, within_s: float = 30.0) -> None:
        """Wait until master, slave and (where there is one) the spare of ``vm`` stand."""
        holders = ("master", "slave", "spare") if spare else ("master", "slave")
        until_s = time.monotonic() + within_s
        while any(self.pid(vm, holder) is None for holder in holders):
            if time.monotonic() > until_s:
                raise SystemExit(f"{vm} does not come to rest")
            time.sleep(0.01)

    def journal(self, vm: str) -> list[dict[str, object]]:
        """Return the journal of ``vm``."""
        path = self.home / vm / "log" / "journal.jsonl"
        entries: list[dict[str, object]] = []
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # a killed writer leaves half a line, and the next one ends it
                entries.append(json.loads(line))
        return entries


def _free_ports(count: int) -> list[int]:
    sockets: list[socket.socket] = []
    ports: list[int] = []
    candidate = 30_000 + os.getpid() % 2_000  # tests take theirs below
    while len(ports) < count:
        candidate += 1
        probe = socket.socket()
        try:
            probe.bind(("127.0.0.1", candidate))
        except OSError:
            probe.close()
            continue
        sockets.append(probe)
        ports.append(candidate)
    for probe in sockets:
        probe.close()
    return ports
