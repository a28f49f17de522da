"""The slave's side of the warm spare: keeps one ready, ends what stands in its way, and sends it in.

The spare is a master that has imported everything and waits on its standard input; see ``snsnode.master.spare``
for its side. Starting from it takes milliseconds where a cold start takes a hundred.
"""

import asyncio
import logging
import signal
import subprocess
import time
from pathlib import Path

import snsnode
from snsnode.base.backoff import Backoff
from snsnode.base.errors import SnsError
from snsnode.node import intent
from snsnode.node.config import NodeConfig, load
from snsnode.node.lock import live_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, send_signal, state_of
from snsnode.node.shortage import is_shortage
from snsnode.pair import disk
from snsnode.pair.machine import LATE_S
from snsnode.pair.reload import stamp
from snsnode.pair.spawn import Child, spawn

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1  # two looks at state T are this far apart
FOREIGN_LOOKS = 50  # an orphan beside a live master sees us, and leaves, within one or two
SEE_OFF_EVERY_S = 0.01
LEAVES_WITHIN_S = 1.0  # from the word; after that it is killed
TAKES_OVER_WITHIN_S = (
    3.0  # from the word to the master's lock, which takes milliseconds; a deadlocked one never does
)
SETTLE_S = 0.3  # after a failover, before the next spare is started: the cores belong to the clients then
CODE_LOOK_S = 2.0
_RETRY = Backoff(first_s=0.5, max_s=10.0)


class SpareKeeper:
    """Keeps one spare; ``send_in`` uses it up."""

    def __init__(self, vm_dir: VmDir, config: NodeConfig) -> None:
        self._vm_dir = vm_dir
        self._config = config
        self._child: Child | None = None
        self._code = 0  # the fingerprint of the code; 0 until it is known
        self._born_of: object = None  # the fingerprint of code and configuration when the spare was started
        self._looked_s = time.monotonic()
        self._not_before_s = 0.0
        self._failures = 0
        self._leaving: tuple[Child, float] | None = None  # dismissed, and when to kill it
        self._sent: tuple[Child, float] | None = None  # sent in, and until when it must be the master
        self._frozen: Identity | None = None  # the holder that the last look found in state T
        self._foreign: Identity | None = None  # the holder that is not ours, and how often it was seen in a row
        self._foreign_looks = 0

    def send_in(self) -> Child | None:
        """Tell the ready spare to become the master and return it; None where there is none."""
        child = self._child
        if child is None or not self._is_ready(child):
            return None
        self._child = None
        self._not_before_s = time.monotonic() + SETTLE_S
        if not _tell(child, b"go\n"):
            return None
        self._sent = child, time.monotonic() + TAKES_OVER_WITHIN_S
        return child

    async def run(self) -> None:
        """Keep a spare ready until cancelled, then dismiss it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_code(), name="code")
            try:
                while True:
                    try:
                        self._look()
                    except OSError as error:
                        if not is_shortage(error):
                            raise
                        log.warning("cannot look after the spare: %s; trying again", error)
                    await asyncio.sleep(LOOK_EVERY_S)
            finally:
                self._dismiss()
                await self._see_off_at_end()

    async def _follow_code(self) -> None:
        while True:
            try:
                self._code = await disk.do(_code_fingerprint)
            except OSError:  # a file that vanishes under an upgrade: look again later
                self._code = self._code or 1
            await asyncio.sleep(CODE_LOOK_S)

    def _look(self) -> None:
        now_s = time.monotonic()
        if self._sent is not None and now_s - self._looked_s > LOOK_EVERY_S + LATE_S:
            self._sent = self._sent[0], now_s + TAKES_OVER_WITHIN_S  # we did not run; nor did it, perhaps
        self._looked_s = now_s
        self._see_off()
        self._end_deaf()
        if self._child is not None:
            code = self._child.process.poll()
            if code is not None:
                self._ended(code)
            elif self._failures and self._is_ready(self._child):
                self._failures = 0
            elif self._fingerprint() != self._born_of and self._is_readable():
                log.info("the code or the configuration changed: a new spare")
                self._dismiss()
        if self._is_wanted():
            self._end_useless_holder()
            if self._child is None and time.monotonic() >= self._not_before_s:
                self._start()

    def _end_useless_holder(self) -> None:
        """End a spare that can take nobody's place, ours or an orphan: while it holds the lock there is no other.

        One is frozen (state T, in two looks), the other an orphan that does not leave although we are here.
        """
        holder = live_holder(self._vm_dir, "spare")
        found = holder.identity if holder is not None else None
        frozen = found if found is not None and state_of(found) == "T" else None
        foreign = found if self._child is None or found != self._child.identity else None
        self._foreign_looks = self._foreign_looks + 1 if foreign is not None and foreign == self._foreign else 0
        self._foreign = foreign
        if frozen is not None and frozen == self._frozen:
            self._end(frozen, "is frozen")
        elif foreign is not None and self._foreign_looks > FOREIGN_LOOKS and state_of(foreign) != "t":
            self._end(foreign, "does not leave")
        self._frozen = frozen

    def _end(self, holder: Identity, why: str) -> None:
        log.warning("the spare, process %d, %s: ending it", holder.pid, why)
        send_signal(holder, signal.SIGKILL)

    def _is_wanted(self) -> bool:
        # Beside a live master only: one that is being brought up needs the cores, and it may be the orphan.
        # And one at a time: who was dismissed still has the lock.
        if self._leaving is not None or not self._code or not intent.may_start(self._vm_dir, "master"):
            return False
        return live_holder(self._vm_dir, "master") is not None

    def _start(self) -> None:
        self._born_of = self._fingerprint()
        try:
            self._child = spawn(self._vm_dir, self._config, "master", "--spare", stdin=subprocess.PIPE)
        except SnsError as error:
            log.warning("%s", error.message)
            self._ended(None)

    def _fingerprint(self) -> object:
        return self._code, stamp(self._vm_dir)

    def _is_readable(self) -> bool:
        """Tell whether a new spare could read the configuration; else the one that has the old is worth more."""
        try:
            load(self._vm_dir.path)
        except SnsError:
            return False
        return True

    def _ended(self, code: int | None) -> None:
        self._child = None
        self._not_before_s = time.monotonic() + _RETRY.step_s(self._failures)
        self._failures += 1
        log.info("the spare ended with %s; the next in %.1f s", code, _RETRY.step_s(self._failures - 1))

    def _is_ready(self, child: Child) -> bool:
        holder = live_holder(self._vm_dir, "spare")
        return holder is not None and holder.identity == child.identity

    def _end_deaf(self) -> None:
        """End one that was sent in and does not become the master: deadlocked, it looks as ready as any."""
        if self._sent is None:
            return
        child, until_s = self._sent
        holder = live_holder(self._vm_dir, "master")
        if holder is not None or child.process.returncode is not None:
            self._sent = None
        elif time.monotonic() > until_s:
            self._sent = None
            self._end(child.identity, "was sent in and does not take over")

    def _dismiss(self) -> None:
        """Ask our spare to leave; ``_see_off`` sees to it."""
        if self._child is not None:
            _tell(self._child, b"leave\n")
            self._leaving = self._child, time.monotonic() + LEAVES_WITHIN_S
            self._child = None

    def _see_off(self) -> None:
        """Reap the one that was dismissed; kill it where its time is up."""
        if self._leaving is None:
            return
        child, until_s = self._leaving
        if child.process.poll() is not None:
            self._leaving = None
        elif time.monotonic() > until_s:
            child.process.kill()  # reaped at a later look

    async def _see_off_at_end(self) -> None:
        """See it off for twice the time that it has at most: to leave, and to be reaped."""
        until_s = time.monotonic() + 2 * LEAVES_WITHIN_S
        while self._leaving is not None and time.monotonic() < until_s:
            self._see_off()
            await asyncio.sleep(SEE_OFF_EVERY_S)


def _tell(child: Child, word: bytes) -> bool:
    """Send ``word`` and close the line; False where the spare is dead."""
    assert child.process.stdin is not None
    try:
        child.process.stdin.write(word)
        child.process.stdin.close()
    except OSError:
        return False
    return True


def _code_fingerprint() -> int:
    """Return a number that changes when the installed code does, and is never 0; raises OSError."""
    root = Path(snsnode.__file__).parent
    return hash(tuple(sorted((str(file), file.stat().st_mtime_ns) for file in root.rglob("*.py")))) or 1
