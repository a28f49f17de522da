"""Which servers and routers this router goes by: those of ``cluster.json``, followed while it runs.

Called by ``run``. A change of the file restarts nothing. Where it is damaged or gone, the last good one counts.
Where there was none (an older ``generate`` wrote no such file), the servers count whose folders lie in this home,
and the routers of ``node.json``.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from snsnode.base import reading
from snsnode.node import cluster
from snsnode.node.cluster import ClusterFile
from snsnode.node.config import Endpoint, NodeConfig
from snsnode.node.paths import VmDir
from snsnode.pair import disk

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
TOLD_EVERY_S = 60.0  # while something is wrong with the file


class Members(NamedTuple):
    """The servers and the routers of the spec."""

    servers: tuple[Endpoint, ...]
    routers: tuple[Endpoint, ...]


class SpecFile:
    """``cluster.json`` of one VM, and what counts in its place."""

    def __init__(self, vm_dir: VmDir, config: NodeConfig) -> None:
        self._vm_dir = vm_dir
        self._config = config
        self._good: Members | None = None
        self._problem = ""
        self._told_s = float("-inf")

    def read(self) -> Members:
        """Return what counts now; tell what is wrong."""
        file = cluster.load(self._vm_dir.path)
        if file.found and file.cluster == self._config.cluster:
            if self._problem:
                log.info("%s can be read again", cluster.FILENAME)
            self._problem, self._told_s = "", float("-inf")
            self._good = Members(file.servers, file.routers)
            return self._good
        self._tell(self._problem_of(file))
        if self._good is not None:
            return self._good
        return Members(cluster.neighbours(self._vm_dir.path, self._config.cluster), self._config.routers)

    async def follow(self, on_change: Callable[[Members], None]) -> None:
        """Call ``on_change`` with what counts, now and after each change of the file, until cancelled."""
        seen: object = None
        while True:
            stamp = await disk.do(partial(reading.stamp, self._vm_dir.path / cluster.FILENAME))
            # Without a file the home counts, which has no stamp, and the complaint is repeated.
            if stamp != seen or (self._problem and time.monotonic() - self._told_s >= TOLD_EVERY_S):
                seen = stamp
                on_change(await disk.do(self.read))
            await asyncio.sleep(LOOK_EVERY_S)

    def update(self, config: NodeConfig) -> None:
        """Take the routers of ``config``, for as long as there is no ``cluster.json``."""
        self._config = config

    def _problem_of(self, file: ClusterFile) -> str:
        if file.problem:
            return file.problem
        path = self._vm_dir.path / cluster.FILENAME
        if file.found:
            return (
                f"cannot use {path}: it is of the cluster {file.cluster!r}, and this is {self._config.cluster!r}"
            )
        return f"cannot read {path}: no such file; run 'snsctl generate', which writes it"

    def _tell(self, problem: str) -> None:
        now_s = time.monotonic()
        if problem == self._problem and now_s - self._told_s < TOLD_EVERY_S:
            return
        self._problem, self._told_s = problem, now_s
        instead = "the last good one" if self._good is not None else "the servers in this home alone"
        log.error("%s. Until then this router goes by %s", problem, instead)
