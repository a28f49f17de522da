"""A cluster whose VMs are machines of their own: each has its home, and its installation of one version or other.

They all live on this machine, at 127.0.0.1. What is installed on one is a link to a version's environment: to
install another turns the link, and whatever runs keeps what it has loaded, as after ``pip install``.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from snsnode.node.lock import live_holder
from snsnode.node.paths import VmDir
from tests.cluster import Cluster
from tests.eventually import eventually
from tests.upgrade.versions import Version, environment

KEEPALIVE = "{interval: 0.5s, timeout: 0.4s, silence: 2s}"
WELL_WITHIN_S = 30.0


class Machines(Cluster):
    """As ``Cluster``, and ``on`` runs the installed ``snsctl`` of one machine."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.environment = environment()

    def python(self, vm: str) -> Path:
        """Return the interpreter of the installation on ``vm``."""
        return self.folder / f"{vm}-installed" / "bin" / "python"

    def install(self, vm: str, version: Version) -> None:
        """Install a version on ``vm`` in the place of the one that is there; nothing is restarted."""
        link, new = self.folder / f"{vm}-installed", self.folder / f"{vm}-new"
        new.symlink_to(version.folder)
        new.replace(link)

    def on(self, vm: str, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run ``snsctl`` on the machine ``vm`` and expect exit ``code`` (None: any)."""
        home = self.home / vm
        home.mkdir(parents=True, exist_ok=True)
        command = [str(self.python(vm)), "-P", "-m", "snsnode.cli.main", *arguments]
        return self._run([*command, "--spec", str(self.spec), "--home", str(home)], code, {})

    def up(self, vm: str) -> None:
        """Generate and start what belongs on ``vm``."""
        self.on(vm, "generate", "--vm", vm)
        self.on(vm, "start", "--vm", vm)

    def vm_dir(self, vm: str) -> VmDir:
        """Return the folder of ``vm``, which is in a home of its own."""
        return VmDir(self.home / vm / vm)

    def conf(self, vm: str) -> Path:
        """Return the generated supervisord.conf of ``vm``."""
        return self.home / vm / vm / "supervisord.conf"

    def stop(self) -> None:
        """Stop everything, machine by machine."""
        for vm in self.vms:
            self.on(vm, "stop", "--vm", vm)

    def await_well(self, vm: str) -> str:
        """Wait until the installed snsctl of ``vm`` finds all well; return what it says."""

        def well() -> str:
            done = self.on(vm, "status", code=None)
            assert done.returncode == 0, f"status of {vm} exits with {done.returncode}: {done.stdout}{done.stderr}"
            return done.stdout

        return eventually(well, WELL_WITHIN_S, every_s=0.5)

    def versions(self, vm: str) -> dict[str, str]:
        """Return the version that each live role of ``vm``, and its spare, says it is."""
        roles = ("router",) if vm in self.router_vms else ("slave", "master", "spare")
        found = {role: live_holder(self.vm_dir(vm), role) for role in roles}
        return {role: holder.version for role, holder in found.items() if holder is not None}

    def logs(self) -> Mapping[str, str]:
        """Return the text of each log."""
        return {
            str(log.relative_to(self.home)): log.read_text(errors="replace")
            for log in sorted(self.home.glob("*/*/log/*"))
            if log.is_file()
        }

    def tails(self, lines: int = 12) -> str:
        """Return the ends of all logs, for the message of a failure."""
        return "".join(
            f"\n--- {name}\n" + "\n".join(text.splitlines()[-lines:]) for name, text in self.logs().items()
        )


@contextmanager
def machines(installed: Mapping[str, Version], *, servers: int, more: str) -> Iterator[Machines]:
    """Start a cluster of these versions; afterwards stop it and check that nothing of it is left."""
    with TemporaryDirectory(prefix="sns-") as name:
        cluster = Machines(Path(name), servers=servers, keepalive=KEEPALIVE, more=more.format(folder=name))
        try:
            for vm in cluster.vms:
                cluster.install(vm, installed[vm])
                cluster.up(vm)
            cluster.await_spares(30)
            yield cluster
            cluster.stop()
            cluster.assert_nothing_left()
        finally:
            cluster.end_all()
