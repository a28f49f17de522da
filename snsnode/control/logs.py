"""What the roles of a VM have told since a command began: why something does not come up.

Called by ``start``. Before a role ends it writes its last ERROR into its log, for people, and ``Failed`` into the
journal, with its exit code; supervisord knows only that it ended.
"""

import re
from pathlib import Path

from snsnode.base import reading
from snsnode.base.errors import EXIT_CONFIG
from snsnode.node.config import RoleName
from snsnode.node.paths import VmDir
from snsnode.observe import journal
from snsnode.observe.events import Failed

TAIL_BYTES_MAX = 256 * 1024
_LEVEL = re.compile(r"\S+ ERROR ")


class Logs:
    """The logs of one VM, from the moment that this is made on."""

    def __init__(self, vm_dir: VmDir) -> None:
        self._vm_dir = vm_dir
        self._began = {role: _size(vm_dir.log(role)) for role in ("router", "slave", "master")}
        self._told = journal.size(vm_dir.journal)

    def cause(self, role: RoleName) -> str:
        """Say why ``role`` does not come up. A slave is up when its master serves, whose words come first."""
        roles: tuple[RoleName, ...] = ("master", "slave") if role == "slave" else (role,)
        for each in roles:
            error = self._last_error(each)
            if error:
                # 2026-11-22T20:15:01.123Z ERROR master vm2 [4242] cannot listen on ...
                said = error.partition("] ")[2] or error
                return f"the log of the {each} says: {said} ({self._vm_dir.log(each)})"
        return f"see {' and '.join(str(self._vm_dir.log(each)) for each in roles)}"

    def is_hopeless(self, role: RoleName) -> bool:
        """Tell whether ``role`` failed last for what no restart mends: with exit code 78."""
        try:
            entries = journal.written_since(self._vm_dir.journal, self._told)
        except OSError:
            return False
        failed = [entry.what for entry in entries if entry.role == role and isinstance(entry.what, Failed)]
        return bool(failed) and failed[-1].exit_code == EXIT_CONFIG

    def _last_error(self, role: RoleName) -> str:
        log = self._vm_dir.log(role)
        try:
            size = log.stat().st_size
            began = self._began[role] if size >= self._began[role] else 0  # rotated meanwhile
            lines = reading.read_tail(log, TAIL_BYTES_MAX, since=began).decode(errors="replace").splitlines()
        except (OSError, reading.Damaged):
            return ""
        return next((line for line in reversed(lines) if _LEVEL.match(line)), "")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
