"""What node.json says of times and restarts, read again when the file changes; used by supervisord's guards."""

from snsnode.base import reading
from snsnode.base.errors import SnsError
from snsnode.guard.times import UNREADABLE, Times
from snsnode.node import config
from snsnode.node.config import FILENAME, NodeConfig, Restart
from snsnode.node.paths import VmDir

RULE_UNREADABLE = Restart(intensity=1, period_s=60.0, backoff_max_s=UNREADABLE.backoff_max_s)


class Settings:
    """The settings of one VM; where its file cannot be read, the roles will tell why."""

    def __init__(self, vm_dir: VmDir) -> None:
        self._path = vm_dir.path
        self._stamp: object = None  # what the file was when it was read
        self._found: NodeConfig | None = None

    def times(self) -> Times:
        """Return the times that the judge goes by."""
        found = self._read()
        return Times.of(found.keepalive, found.restart) if found is not None else UNREADABLE

    def restart(self) -> Restart:
        """Return the rule of a restart budget."""
        found = self._read()
        return found.restart if found is not None else RULE_UNREADABLE

    def _read(self) -> NodeConfig | None:
        stamp = reading.stamp(self._path / FILENAME)
        if stamp != self._stamp:
            try:
                self._found = config.load(self._path)
            except SnsError:
                self._found = None
            self._stamp = stamp
        return self._found
