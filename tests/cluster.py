"""A whole cluster on this machine for tests: real snsctl, real supervisord, real pairs, stock supervisorctl.

``with running(servers=2) as cluster:`` generates a spec with free ports in a folder of its own and starts it; at
the end it is stopped, and every process or port of it that is left fails the test.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snsnode.node.config import RoleName
from snsnode.node.ending import kill_and_wait
from snsnode.node.lock import live_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify, is_alive, send_signal
from tests import looker
from tests.eventually import eventually
from tests.ports import free_port

BIN = Path(sys.executable).parent
COMMAND_MAX_S = 90.0
FAST = "{interval: 0.3s, timeout: 0.2s, silence: 1s}"


class Cluster:
    """One cluster in ``folder``: router VM ``vm1``, server VMs ``vm2`` and on, and then the other ``routers``.

    Nothing runs before ``start``.

    ``keepalive``, ``restart`` and ``more`` are YAML: two flow mappings, and lines for the top level.
    """

    def __init__(
        self,
        folder: Path,
        *,
        servers: int = 1,
        spare: bool = True,
        keepalive: str = FAST,
        restart: str = "{intensity: 1000, period: 10s, backoff_max: 10s}",
        more: str = "",
        routers: int = 1,
    ) -> None:
        self.folder = folder
        self.home = folder / "var"
        self.spec = folder / "cluster.yaml"
        self.router_vm = "vm1"
        self.server_vms = tuple(f"vm{number}" for number in range(2, servers + 2))
        others = tuple(f"vm{number}" for number in range(servers + 2, servers + 1 + routers))
        self.router_vms = (self.router_vm, *others)
        self.vms = (self.router_vm, *self.server_vms, *others)
        self.ports = {vm: free_port() for vm in self.vms}
        self.spare = spare
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("SNS_")}
        lines = [
            f"cluster: t{os.getpid()}",
            f"spare: {str(spare).lower()}",
            f"keepalive: {keepalive}",
            f"restart: {restart}",
            more.strip("\n"),
            "vms:",
        ]
        for vm in self.vms:
            role = "router" if vm in self.router_vms else "server"
            lines.append(f"  {vm}: {{address: 127.0.0.1, {role}: {{port: {self.ports[vm]}}}}}")
        self.spec.write_text("\n".join(line for line in lines if line) + "\n")

    @property
    def router_targets(self) -> list[str]:
        """Where the routers listen, as clients name them."""
        return [f"127.0.0.1:{self.ports[vm]}" for vm in self.router_vms]

    # --- commands -------------------------------------------------------------------------------------------

    def ctl(
        self, *arguments: str, code: int | None = 0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the real ``snsctl`` on this cluster and expect exit ``code`` (None: any)."""
        command = [sys.executable, "-P", "-m", "snsnode.cli.main", *arguments]
        options = [] if "--help" in arguments else ["--spec", str(self.spec), "--home", str(self.home)]
        return self._run([*command, *options], code, environment or {})

    def supervisorctl(self, vm: str, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run the stock ``supervisorctl`` on the supervisord of ``vm`` and expect exit ``code`` (None: any)."""
        command = [str(BIN / "supervisorctl"), "-c", str(self.conf(vm)), *arguments]
        return self._run(command, code, {})

    def _run(
        self, command: list[str], code: int | None, more: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        paths = [each["PYTHONPATH"] for each in (more, self.environment) if "PYTHONPATH" in each]
        done = subprocess.run(
            command,
            cwd=self.folder,
            # Behind what a test plants: the tree that is under test may be a copy, which only PYTHONPATH names.
            env=self.environment | dict(more) | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_MAX_S,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, (
                f"{' '.join(command[1:])} exited with {done.returncode}\n{done.stdout}{done.stderr}{self.tails()}"
            )
        return done

    def generate(self) -> None:
        """Write every VM's files."""
        self.ctl("generate")

    def start(self) -> None:
        """Start everything and wait until it serves, with a spare where there is to be one."""
        self.ctl("start")
        self.await_spares()

    def stop(self) -> None:
        """Stop everything, supervisords too."""
        self.ctl("stop")

    def status_json(self) -> dict[str, Any]:
        """Return what ``snsctl status --json`` prints."""
        status: dict[str, Any] = json.loads(self.ctl("status", "--json", code=None).stdout)
        return status

    def status(self) -> dict[str, Any]:
        """Return the same, at a tenth of what it costs."""
        return looker.status(self.spec, self.home)

    # --- who really runs --------------------------------------------------------------------------------------

    def vm_dir(self, vm: str) -> VmDir:
        """Return the folder of ``vm``."""
        return VmDir(self.home / vm)

    def conf(self, vm: str) -> Path:
        """Return the generated supervisord.conf of ``vm``."""
        return self.home / vm / "supervisord.conf"

    def process(self, vm: str, role: RoleName | str) -> Identity | None:
        """Return the live process that holds ``role`` (or "spare") of ``vm``, by its lock."""
        holder = live_holder(self.vm_dir(vm), role)
        return holder.identity if holder is not None else None

    def pid(self, vm: str, role: RoleName | str) -> int:
        """Return the pid of the live ``role`` (or "spare") of ``vm``; fail where there is none."""
        found = self.process(vm, role)
        assert found is not None, f"no {role} of {vm} runs"
        return found.pid

    def supervisord(self, vm: str) -> Identity | None:
        """Return the live supervisord of ``vm``, by its pid file."""
        try:
            found = identify(int(self.vm_dir(vm).supervisor_pid.read_text()))
        except (OSError, ValueError):
            return None
        mine = found is not None and is_alive(found) and found.pid in self.processes()
        return found if mine else None

    def signal(self, vm: str, role: RoleName | str, number: signal.Signals) -> Identity:
        """Signal exactly the process that is ``role`` (or "spare") of ``vm`` now, and return who it was."""
        found = self.process(vm, role)
        assert found is not None, f"no {role} of {vm} runs"
        assert send_signal(found, number)
        return found

    def kill(self, vm: str, *roles: RoleName | str) -> list[Identity]:
        """SIGKILL the processes of ``roles`` (also "spare", "supervisord") as one, and return who they were."""
        found = [self.supervisord(vm) if role == "supervisord" else self.process(vm, role) for role in roles]
        victims = [identity for identity in found if identity is not None]
        assert len(victims) == len(roles), f"not all of {roles} of {vm} run"
        for victim in victims:
            send_signal(victim, signal.SIGSTOP)  # so that none of them acts on the death of another
        for victim in victims:
            send_signal(victim, signal.SIGKILL)
        for victim in victims:
            assert kill_and_wait(victim, 5).is_dead
        return victims

    # --- waiting ------------------------------------------------------------------------------------------------

    def await_role(self, vm: str, role: RoleName | str, within_s: float = 10, *, other_than: int = 0) -> int:
        """Wait until ``role`` (or "spare") runs in a process other than ``other_than``; return its pid."""

        def runs() -> int:
            found = self.process(vm, role)
            return found.pid if found is not None and found.pid != other_than else 0

        return eventually(runs, within_s)

    def await_gone(self, vm: str, role: RoleName | str, within_s: float = 10) -> None:
        """Wait until no process is ``role`` (or "spare") of ``vm``."""
        eventually(lambda: self.process(vm, role) is None, within_s)

    def await_spares(self, within_s: float = 10) -> None:
        """Wait until each server has its spare, if it is to have one."""
        if self.spare:
            for vm in self.server_vms:
                self.await_role(vm, "spare", within_s)

    def await_available(self, within_s: float = 10) -> str:
        """Wait until ``snsctl status`` says that all is well; return the available VM."""

        def available() -> str | None:
            status = self.status()
            states = [server["state"] for server in status["servers"]]
            return status["available"] if all(state in ("AVAILABLE", "STANDBY") for state in states) else None

        return str(eventually(available, within_s, every_s=0.1))

    # --- what is left -------------------------------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """Return pid → command line of every live process with this home in its working folder or command."""
        found: dict[int, str] = {}
        home = str(self.home)
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                where = str((folder / "cwd").readlink())
            except OSError:
                continue
            # The folder alone is the test's own; a zombie has neither.
            if int(folder.name) != os.getpid() and (home in command or where.startswith(home)):
                found[int(folder.name)] = command.strip()
        return found

    def bound_ports(self) -> list[int]:
        """Return the cluster's ports that somebody listens on."""
        return [port for port in self.ports.values() if not _is_free(port)]

    def end_all(self) -> None:
        """End what is left of the cluster by pid: after a test that failed."""
        # supervisord and the partners revive each other: first freeze all, then kill all.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in self.processes():
                identity = identify(pid)
                if identity is not None:
                    send_signal(identity, number)
        eventually(lambda: not self.processes(), within_s=10)

    def assert_nothing_left(self) -> None:
        """Fail where a process, a lock or a port of the cluster is left."""
        left, bound = self.processes(), self.bound_ports()
        if left:
            self.end_all()
        assert not left, f"processes left: {left}{self.tails()}"
        assert not bound, f"ports still bound: {bound}"

    def tails(self, lines: int = 12) -> str:
        """Return the ends of all logs, for the message of a failed test."""
        text = ""
        for log in sorted(self.home.glob("*/log/*")):
            if log.is_file():
                tail = log.read_text(errors="replace").splitlines()[-lines:]
                text += f"\n--- {log.relative_to(self.home)}\n" + "\n".join(tail)
        return text


@contextmanager
def running(
    *,
    servers: int = 1,
    spare: bool = True,
    keepalive: str = FAST,
    restart: str = "{intensity: 1000, period: 10s, backoff_max: 10s}",
    more: str = "",
    start: bool = True,
    routers: int = 1,
) -> Iterator[Cluster]:
    """Generate and start a cluster; afterwards stop it and check that nothing of it is left.

    ``start=False`` only generates. The folder is a short one: a Unix socket's name has 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        cluster = Cluster(
            Path(folder),
            servers=servers,
            spare=spare,
            keepalive=keepalive,
            restart=restart,
            more=more,
            routers=routers,
        )
        cluster.generate()
        try:
            if start:
                cluster.start()
            yield cluster
            cluster.stop()
            cluster.assert_nothing_left()
        finally:
            cluster.end_all()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
