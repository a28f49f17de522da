"""Follow ``node.json``: a running role learns of new routers without a restart."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from snsnode.base import reading
from snsnode.base.errors import ConfigError
from snsnode.node.config import FILENAME, NodeConfig, load
from snsnode.node.paths import VmDir
from snsnode.pair import disk

LOOK_EVERY_S = 0.5


async def follow_config(vm_dir: VmDir, on_change: Callable[[NodeConfig], None]) -> None:
    """Call ``on_change`` with the configuration now, and each time the file was replaced by a readable one.

    Now, because who follows may have read the file long ago: a spare did when it began to wait.
    """
    seen = None
    while True:
        now = await disk.do(partial(reading.stamp, vm_dir.path / FILENAME))
        if now != seen and now is not None:
            seen = now
            with contextlib.suppress(ConfigError):  # a damaged file changes nothing; the next start refuses it
                on_change(await disk.do(partial(load, vm_dir.path)))
        await asyncio.sleep(LOOK_EVERY_S)
