"""A cluster whose VMs are machines of their own: each with its folder, its address, and links that can be cut.

``with joined("namespaces") as cluster:`` generates once, copies each VM's folder to that VM, as an operator would,
and starts it there. What the VMs share beside the network is one disk with the store: a file of SQLite that every
VM sees under the same path, as PostgreSQL would be seen under the same address. So a VM that is cut off still
reaches the store; what is tested here is the network between clients, routers and servers.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from snsnode.node.paths import VmDir
from tests.cluster import Cluster
from tests.network.fabric import Fabric
from tests.network.namespaces import Namespaces
from tests.network.proxies import Proxies

CLIENT_VMS = ("c1", "c2")  # machines without any role of the cluster
LEASE_S = 3.0  # a server's lease at the routers: what the spec calls silence
KEEPALIVE = f"{{interval: 0.5s, timeout: 0.3s, silence: {LEASE_S}s}}"
AS_SHIPPED = "{interval: 3s, timeout: 1s, silence: 9s}"  # leases that nobody waits for
STORE = "sns.db"


class NetworkCluster(Cluster):
    """Router VMs ``r1`` and on, server VMs ``s1`` and on, client VMs ``c1`` and ``c2`` on ``fabric``."""

    def __init__(
        self, folder: Path, fabric: Fabric, *, routers: int, servers: int, keepalive: str = KEEPALIVE
    ) -> None:
        super().__init__(folder, servers=0, keepalive=keepalive)
        self.fabric = fabric
        self.home = folder  # everything of it is below
        self.router_vms = tuple(f"r{number}" for number in range(1, routers + 1))
        self.server_vms = tuple(f"s{number}" for number in range(1, servers + 1))
        self.router_vm = self.router_vms[0]
        self.vms = (*self.router_vms, *self.server_vms)
        self.ports = {vm: fabric.port(vm, "router") for vm in self.router_vms}
        self.ports |= {vm: fabric.port(vm, "master") for vm in self.server_vms}
        self.store = f"sqlite:///{folder / STORE}"
        self.spec.write_text(self._spec(keepalive))

    def _spec(self, keepalive: str) -> str:
        lines = [
            "cluster: network",
            f"store: {self.store}",
            "separate_data: true  # they do share the file, and snsctl cannot know it",
            f"keepalive: {keepalive}",
            "restart: {intensity: 1000, period: 10s}",
            "vms:",
        ]
        for vm in self.vms:
            role = "router" if vm in self.router_vms else "server"
            lines.append(f"  {vm}: {{address: {self.fabric.address(vm)}, {role}: {{port: {self.ports[vm]}}}}}")
        return "\n".join(lines) + "\n"

    # --- each VM for itself -----------------------------------------------------------------------------------

    def vm_dir(self, vm: str) -> VmDir:
        """Return the folder of ``vm``, on its own disk."""
        return VmDir(self.folder / vm / "var" / vm)

    def conf(self, vm: str) -> Path:
        """Return the generated supervisord.conf of ``vm``."""
        return self.vm_dir(vm).path / "supervisord.conf"

    def target(self, vm: str) -> str:
        """Return the address and port of the router or server on ``vm``."""
        return f"{self.fabric.address(vm)}:{self.ports[vm]}"

    @property
    def router_targets(self) -> list[str]:
        """Return what a client is given to begin with."""
        return [self.target(vm) for vm in self.router_vms]

    def environment_on(self, vm: str) -> Mapping[str, str]:
        """Return the environment of a process on ``vm``."""
        return {**self.environment, **self.fabric.environment(vm)}

    def ctl_on(self, vm: str, *arguments: str, code: int | None = 0) -> "subprocess.CompletedProcess[str]":
        """Run the real ``snsctl`` on ``vm``, with that VM's home, and expect exit ``code`` (None: any)."""
        snsctl = [sys.executable, "-m", "snsnode.cli.main", *arguments]
        snsctl += ["--spec", str(self.spec), "--home", str(self.vm_dir(vm).home)]
        return self._run(self.fabric.command(vm, snsctl), code, self.fabric.environment(vm))

    def open_on(self, vm: str, arguments: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a program of the tests on ``vm``, its input and output piped."""
        root = Path(__file__).parents[2]
        environment = dict(self.environment_on(vm))
        paths = (environment.get("PYTHONPATH", ""), str(root))
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        return subprocess.Popen(
            self.fabric.command(vm, [sys.executable, *arguments]),
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    # --- all together -----------------------------------------------------------------------------------------

    def generate(self) -> None:
        """Generate once, and copy each VM's folder to that VM."""
        made = self.folder / "generated"
        snsctl = [sys.executable, "-m", "snsnode.cli.main", "generate"]
        self._run([*snsctl, "--spec", str(self.spec), "--home", str(made)], 0, {})
        for vm in self.vms:
            shutil.copytree(made / vm, self.vm_dir(vm).path)

    def start(self) -> None:
        """Start every VM, all at once."""
        self._each(self.vms, "start")
        self.await_spares()

    def stop(self) -> None:
        """Stop every VM, supervisords too."""
        self._each(self.vms, "stop")

    def _each(self, vms: Iterable[str], command: str) -> None:
        # A namespace has but its own VM's address, so snsctl finds out what is to be done here. Behind
        # proxies all addresses are local, and it has to be told.
        alone = self.fabric.kind == "namespaces"

        def act(vm: str) -> None:
            self.ctl_on(vm, command, *(() if alone else ("--vm", vm)))

        with ThreadPoolExecutor() as pool:
            list(pool.map(act, vms))

    def bound_ports(self) -> list[int]:
        """Return the ports that somebody listens on; those in a namespace end with it."""
        return super().bound_ports() if self.fabric.kind == "proxies" else []

    def tails(self, lines: int = 12) -> str:
        """Return the ends of all logs, for the message of a failed test."""
        text = ""
        for log in sorted(self.folder.glob("*/var/*/log/*")):
            if log.is_file():
                tail = log.read_text(errors="replace").splitlines()[-lines:]
                text += f"\n--- {log.parts[-3]}/{log.name}\n" + "\n".join(tail)
        return text


@contextmanager
def joined(
    kind: str, *, routers: int = 1, servers: int = 2, keepalive: str = KEEPALIVE
) -> Iterator[NetworkCluster]:
    """Make a network of ``kind`` and start a cluster on it; afterwards check that nothing of both is left."""
    vms = [f"r{number}" for number in range(1, routers + 1)]
    vms += [f"s{number}" for number in range(1, servers + 1)]
    with tempfile.TemporaryDirectory(prefix="sns-") as name:
        folder = Path(name)
        with make_fabric(kind, (*vms, *CLIENT_VMS), folder) as fabric:
            cluster = NetworkCluster(folder, fabric, routers=routers, servers=servers, keepalive=keepalive)
            cluster.generate()
            try:
                cluster.start()
                yield cluster
                cluster.stop()
                cluster.assert_nothing_left()
            finally:
                cluster.end_all()


def make_fabric(kind: str, vms: Sequence[str], folder: Path) -> Fabric:
    """Return the network of ``kind``, to be entered; ``folder`` is for its files."""
    return Namespaces(vms) if kind == "namespaces" else Proxies(vms, folder)
