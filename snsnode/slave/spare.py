"""The slave's side of the warm spare: keeps one ready, ends what stands in its way, and sends it in.

The spare is a master that has imported everything and waits on its standard input; see ``snsnode.master.spare``
for its side. Starting from it takes milliseconds where a cold start takes a hundred.
"""

import asyncio
import logging
import subprocess
import time
from pathlib import Path

import snsnode
from snsnode.base import reading
from snsnode.base.errors import SnsError
from snsnode.guard.judge import Memory, judge
from snsnode.guard.times import SEND_OFF_S, TICK_S, Times
from snsnode.guard.view import Me, View
from snsnode.node import ending, intent, places
from snsnode.node.config import FILENAME, PARTNERS, NodeConfig, load
from snsnode.node.lock import live_holder
from snsnode.node.paths import VmDir
from snsnode.node.shortage import is_shortage
from snsnode.pair import disk
from snsnode.pair.spawn import Child, spawn
from snsnode.slave.keeping import Keeping, view_of

log = logging.getLogger(__name__)

SEE_OFF_EVERY_S = 0.01
CODE_LOOK_S = 2.0


class SpareKeeper:
    """Keeps one spare; ``send_in`` uses it up."""

    def __init__(self, vm_dir: VmDir, config: NodeConfig) -> None:
        self._vm_dir = vm_dir
        self._config = config
        self._child: Child | None = None
        self._code = 0  # the fingerprint of the code; 0 until it is known
        self._born_of: object = None  # the fingerprint of code and configuration when the spare was started
        self._memory = Memory()
        self._times = Times.of(config.keepalive, config.restart)
        self._keeping = Keeping()
        self._leaving: Child | None = None  # dismissed, and not seen dead yet
        self._sent: Child | None = None  # sent in, and not seen as the master yet

    def send_in(self) -> Child | None:
        """Tell the ready spare to become the master and return it; None where there is none."""
        child = self._child
        if child is None or not self._is_ready(child):
            return None
        self._child = None
        self._keeping = self._keeping.sent_in(time.monotonic())
        if not _tell(child, b"go\n"):
            return None
        self._sent = child
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
                    await asyncio.sleep(TICK_S)
            finally:
                self._dismiss()
                await self._see_off()

    async def _follow_code(self) -> None:
        while True:
            try:
                self._code = await disk.do(_code_fingerprint)
            except OSError:  # a file that vanishes under an upgrade: look again later
                self._code = self._code or 1
            await asyncio.sleep(CODE_LOOK_S)

    def _look(self) -> None:
        view = self._view()
        self._memory, actions = judge(self._memory, view, Me.SLAVE, time.monotonic(), self._times)
        for action in actions:
            assert action.victim is not None
            log.warning("the spare, process %d, %s: ending it", action.victim.pid, action.cause)
            ending.kill(action.victim)
        if self._child is not None:
            code = self._child.process.poll()
            if code is not None:
                self._ended(code)
            elif self._keeping.failures and view.spare.identity == self._child.identity:
                self._keeping = self._keeping.stood_by()
            elif self._fingerprint() != self._born_of and self._is_readable():
                log.info("the code or the configuration changed: a new spare")
                self._dismiss()
        if self._code and self._keeping.wants(view, time.monotonic()):
            self._start()

    def _view(self) -> View:
        master, spare = places.look(self._vm_dir, "master"), places.look(self._vm_dir, "spare")
        if self._leaving is not None and self._leaving.process.poll() is not None:
            self._leaving = None
        sent = self._sent
        if sent is not None and (master.identity is not None or sent.process.returncode is not None):
            self._sent = sent = None
        child = self._child
        return view_of(
            master,
            spare,
            frozenset(role for role in PARTNERS if intent.may_start(self._vm_dir, role)),
            child=child.identity if child is not None else None,
            child_lives=child is not None and child.process.poll() is None,
            sent=sent.identity if sent is not None else None,
            dismissed=self._leaving.identity if self._leaving is not None else None,
        )

    def _start(self) -> None:
        self._born_of = self._fingerprint()
        try:
            self._child = spawn(self._vm_dir, self._config, "master", "--spare", stdin=subprocess.PIPE)
        except SnsError as error:
            log.warning("%s", error.message)
            self._ended(None)

    def _fingerprint(self) -> object:
        return self._code, reading.stamp(self._vm_dir.path / FILENAME)

    def _is_readable(self) -> bool:
        """Tell whether a new spare could read the configuration; else the one that has the old is worth more."""
        try:
            load(self._vm_dir.path)
        except SnsError:
            return False
        return True

    def _ended(self, code: int | None) -> None:
        self._child = None
        now_s = time.monotonic()
        self._keeping = self._keeping.ended(now_s)
        log.info("the spare ended with %s; the next in %.1f s", code, self._keeping.not_before_s - now_s)

    def _is_ready(self, child: Child) -> bool:
        holder = live_holder(self._vm_dir, "spare")
        return holder is not None and holder.identity == child.identity

    def _dismiss(self) -> None:
        """Ask our spare to leave; the judge gives it a moment."""
        if self._child is not None:
            _tell(self._child, b"leave\n")
            self._leaving, self._child = self._child, None

    async def _see_off(self) -> None:
        """At our own end, make sure that the spare that was dismissed is dead: nobody else will."""
        until_s = time.monotonic() + SEND_OFF_S
        while self._leaving is not None and time.monotonic() < until_s + SEND_OFF_S:
            if self._leaving.process.poll() is not None:
                self._leaving = None
            elif time.monotonic() > until_s:
                ending.kill_child(self._leaving.process)
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
