"""Follow ``node.json``: a running role learns of new routers without a restart."""

import asyncio
import contextlib
from collections.abc import Callable

from snsnode.base.errors import ConfigError
from snsnode.node.config import FILENAME, NodeConfig, load
from snsnode.node.paths import VmDir

LOOK_EVERY_S = 0.5


async def follow_config(vm_dir: VmDir, on_change: Callable[[NodeConfig], None]) -> None:
    """Call ``on_change`` with the new configuration each time the file was replaced by a readable one."""
    seen = _stamp(vm_dir)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        now = _stamp(vm_dir)
        if now != seen and now is not None:
            seen = now
            with contextlib.suppress(ConfigError):  # a damaged file changes nothing; the next start refuses it
                on_change(load(vm_dir.path))


def _stamp(vm_dir: VmDir) -> tuple[int, int] | None:
    try:
        stat = (vm_dir.path / FILENAME).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
