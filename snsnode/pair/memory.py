"""A role that has outgrown its bound of memory ends in good order, and comes back small.

Some of what strangers can do grows a process without bound, whatever it does itself: HTTP/2 CONTINUATION frames
grow any server of gRPC's. So each role looks at its own size, and ends as if it had been asked to: a master
drains, its clients move, and its slave launches the next one. This happens once in ``AGAIN_AFTER_S`` at most, and
only where somebody else serves meanwhile; else a stranger could keep a server from serving.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

from snsnode.base import reading
from snsnode.base.errors import EXIT_NOT_SO
from snsnode.node import cluster
from snsnode.node.durable import write_text
from snsnode.node.paths import VmDir
from snsnode.node.process import boot_id
from snsnode.observe import events
from snsnode.observe.journal import Journal
from snsnode.pair import disk

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5  # what can be done to gRPC grows a process by 1 GiB a second
AGAIN_AFTER_S = 600.0
ASK_EVERY_S = 20.0  # whether somebody else serves, where nobody did
END_WITHIN_S = 15.0  # more than a master's longest way out; a role that is attacked may hang on it
READ_S = 1.0  # a disk that hangs keeps the bound that was read last
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryGuard:
    """Sets ``stop`` where this process has outgrown ``limits.memory`` and ``may_end`` says it can be spared."""

    def __init__(
        self,
        vm_dir: VmDir,
        role: str,
        journal: Journal,
        may_end: Callable[[], Awaitable[bool]],
        stop: asyncio.Event,
    ) -> None:
        self._vm_dir = vm_dir
        self._role = role
        self._journal = journal
        self._may_end = may_end
        self._stop = stop
        self._limit = _Limit(vm_dir)
        self._ask_s = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        # Open from the start: where no descriptor is free, a look must still be possible.
        statm = os.open("/proc/self/statm", os.O_RDONLY)
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                used_bytes = int(os.pread(statm, 128, 0).split()[1]) * _PAGE_BYTES
                if used_bytes <= cluster.MEMORY_MIN_BYTES:
                    continue
                limit_bytes = await self._limit.look()
                if used_bytes > limit_bytes:
                    await self._outgrown(used_bytes, limit_bytes)
        finally:
            os.close(statm)

    async def _outgrown(self, used_bytes: int, limit_bytes: int) -> None:
        if self._stop.is_set() or time.monotonic() < self._ask_s:
            return
        self._ask_s = time.monotonic() + ASK_EVERY_S
        used = f"{used_bytes // cluster.MIB} MiB, more than limits.memory, {limit_bytes // cluster.MIB} MiB"
        if _ended_lately(self._vm_dir, self._role):
            log.warning("this %s has %s; it ended for that less than %.0f s ago", self._role, used, AGAIN_AFTER_S)
        elif not await self._may_end():
            log.warning("this %s has %s; it goes on, for nobody else serves meanwhile", self._role, used)
        elif _record(self._vm_dir, self._role):
            _end_at_last()
            log.error(
                "this %s has %s: it ends within %.0f s, and another one is launched",
                self._role,
                used,
                END_WITHIN_S,
            )
            self._journal.write(events.Outgrown(used_mib=used_bytes // cluster.MIB))
            self._stop.set()


def _end_at_last() -> None:
    """End this process where it has not ended by itself in time.

    From a thread, for the event loop may hang; and without a word, for it may hang with the log's lock.
    """
    timer = threading.Timer(END_WITHIN_S, os._exit, (EXIT_NOT_SO,))
    timer.daemon = True
    timer.start()


class _Limit:
    """The bound of ``cluster.json``, which is read anew when it changes; without the file, the default."""

    def __init__(self, vm_dir: VmDir) -> None:
        self._folder = vm_dir.path
        self._seen: object = None
        self._bytes = cluster.MEMORY_DEFAULT_BYTES

    async def look(self) -> int:
        """Return the bound in bytes; where the file is damaged or cannot be read now, the last one."""
        with contextlib.suppress(TimeoutError):
            stamp = await disk.do(partial(reading.stamp, self._folder / cluster.FILENAME), READ_S)
            if stamp != self._seen:
                file = await disk.do(partial(cluster.load, self._folder), READ_S)
                if not file.problem:
                    self._seen, self._bytes = stamp, file.limits.memory_bytes
        return self._bytes


def _ended_lately(vm_dir: VmDir, role: str) -> bool:
    try:
        boot, at_s = reading.read_text(vm_dir.run / f"{role}.outgrown").split()
        return boot == boot_id() and 0 <= _now_s() - float(at_s) < AGAIN_AFTER_S
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return not _record(vm_dir, role)  # it tells nothing; if it cannot be replaced, we must not end


def _record(vm_dir: VmDir, role: str) -> bool:
    """Note that this role ends for its size. Where that fails it must go on, or it would end again and again."""
    try:
        write_text(vm_dir.run / f"{role}.outgrown", f"{boot_id()} {_now_s()!r}\n", fsync=False)
    except OSError as error:
        log.warning("cannot note that this %s has outgrown its memory, so it goes on: %s", role, error)
        return False
    return True


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
