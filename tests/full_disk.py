"""A small disk that a test can fill or make read-only: a tmpfs of its own, which only root may mount."""

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DISK_BYTES = 256 * 1024


class SmallDisk:
    """``folder`` is the disk's root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Use up the last byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        try:
            (self.folder / "probe").write_bytes(b"x")
        except OSError as error:
            assert error.errno == errno.ENOSPC
        else:
            raise AssertionError("the disk is not full")
        finally:
            (self.folder / "probe").unlink()

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink()

    def freeze(self) -> None:
        """Make it read-only; no file of it may be open for writing."""
        self._remount("ro")

    def thaw(self) -> None:
        """Make it writable again."""
        self._remount("rw")

    def _remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], check=True, capture_output=True)


@contextmanager
def small_disk(size_bytes: int | None = None) -> Iterator[SmallDisk]:
    """Mount a disk for the ``with`` block; skips the test where that is not permitted."""
    with tempfile.TemporaryDirectory(prefix="snsnode-disk-") as folder, mounted(Path(folder), size_bytes) as disk:
        if disk is None:
            pytest.skip("mounting a small disk is not permitted here")
        yield disk


@contextmanager
def mounted(folder: Path, size_bytes: int | None = None) -> Iterator[SmallDisk | None]:
    """Mount a disk (of ``DISK_BYTES``) over ``folder`` for the block; None where that is not permitted."""
    command = ["mount", "-t", "tmpfs", "-o", f"mode=0700,size={size_bytes or DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
