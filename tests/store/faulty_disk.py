"""A disk that a test can hold up or break: a layer of SQLite's between the engine and the real files."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

NAME = "faulty-disk"
HELD_MAX_S = 10.0


class FaultyDisk(apsw.VFS):
    """Counts, holds up or fails the fsyncs of the log (the ``-wal`` file)."""

    def __init__(self) -> None:
        self.below = str(apsw.vfs_details()[0]["zName"])  # the default one
        super().__init__(NAME, self.below)
        self.log_syncs = 0
        self.failing = False
        self.held = threading.Event()  # set while a sync is held up
        self.let_go = threading.Event()
        self.let_go.set()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)

    def sync_of_log(self) -> None:
        self.log_syncs += 1
        if not self.let_go.is_set():
            self.held.set()
            self.let_go.wait(HELD_MAX_S)
        if self.failing:
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(disk.below, name, flags)
        self._disk = disk
        self._is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._is_log:
            self._disk.sync_of_log()
        super().xSync(flags)


@contextmanager
def faulty_disk() -> Iterator[FaultyDisk]:
    """Put the layer under every connection opened inside."""
    disk = FaultyDisk()
    apsw.set_default_vfs(NAME)
    try:
        yield disk
    finally:
        disk.let_go.set()
        apsw.set_default_vfs(disk.below)
        disk.unregister()
