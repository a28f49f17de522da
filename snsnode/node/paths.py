"""Where one VM's processes keep their files: ``<home>/<vm>/``.

``run/`` is volatile: locks, pid files, sockets. ``state/`` must survive a reboot: epochs, stop intents, the
restart ledger. ``log/`` holds logs and the journal.
"""

from dataclasses import dataclass
from pathlib import Path

from snsnode.base import aside
from snsnode.node.config import RoleName


@dataclass(frozen=True, slots=True)
class VmDir:
    """The folder of one VM. Roles run with it as their working directory."""

    path: Path

    @property
    def home(self) -> Path:
        """The cluster's home on this machine; a relative SQLite path starts here."""
        return self.path.parent

    @property
    def run(self) -> Path:
        """Volatile files."""
        return self.path / "run"

    @property
    def state(self) -> Path:
        """Durable files."""
        return self.path / "state"

    @property
    def journal(self) -> Path:
        """The journal of this VM: JSON lines."""
        return self.path / "log" / "journal.jsonl"

    @property
    def supervisor_socket(self) -> Path:
        """Where this VM's supervisord answers."""
        return self.run / "supervisor.sock"

    @property
    def supervisor_pid(self) -> Path:
        """Written by supervisord itself: its pid, one line."""
        return self.run / "supervisord.pid"

    @property
    def retired(self) -> Path:
        """Exists when the spec no longer has this VM."""
        return self.path / "retired"

    @property
    def local(self) -> Path:
        """What an operator adds to this VM's supervisord; ``generate`` leaves it alone."""
        return self.path / "local"

    def lock(self, holder: RoleName | str) -> Path:
        """Return the lock file of a role, or of the ``spare``."""
        return self.run / f"{holder}.lock"

    def pid(self, holder: RoleName | str) -> Path:
        """Return the pid file of a role, or of the ``spare``."""
        return self.run / f"{holder}.pid"

    def log(self, role: RoleName | str) -> Path:
        """Return the log of a role."""
        return self.path / "log" / f"{role}.log"

    @property
    def folders(self) -> tuple[Path, ...]:
        """This folder, and those in it that roles write to."""
        return self.path, self.run, self.state, self.path / "log"

    def make(self) -> None:
        """Create the folders, for this user alone."""
        for folder in self.folders:
            if folder.exists() and not folder.is_dir():
                aside.set_aside(folder, "it is no folder")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
