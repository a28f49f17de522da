"""The spare's wait: a master that has imported everything and stands by until it is told, or needed.

Its slave writes "go" or "leave" on the spare's standard input. When that line just ends, the slave has died; then
the spare is alone, and the last of the pair that can act beside a master that may hang. What it does about the
others, and after how long, is in ``guard.table``; here it looks, and carries that out.
"""

import asyncio
import logging
import os
import random
import sys
import time
from collections.abc import Iterable

from snsnode.base.errors import SnsError
from snsnode.guard.judge import Action, Memory, judge
from snsnode.guard.plan import Plan, follow
from snsnode.guard.table import Act
from snsnode.guard.times import TICK_S, Times
from snsnode.guard.view import Me, View
from snsnode.node import budget, intent, places
from snsnode.node.config import PARTNERS, NodeConfig
from snsnode.node.lock import live_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity
from snsnode.node.shortage import lacks_descriptors
from snsnode.observe import events
from snsnode.observe.journal import Journal
from snsnode.pair.fence import await_death, kill_and_await
from snsnode.pair.spawn import Child, spawn
from snsnode.pair.tasks import first_of
from snsnode.transport.health import is_serving

log = logging.getLogger(__name__)

SLAVE_SOCKET = "unix:run/slave.sock"  # relative to the working directory: a socket's name may have 107 bytes only
TAKEN_LOOK_S = 0.005  # while somebody takes the master's role and has not announced itself yet
COMPLAIN_EVERY_S = 5.0


async def wait_for_turn(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event) -> bool:
    """Stand by; True when this process is to become the master, False when it is to leave."""
    found = live_holder(vm_dir, "slave")
    # Our slave is our parent. If it died while we imported, the slave that is there now has a spare of its own.
    ours = found.identity if found is not None and found.identity.pid == os.getppid() else None
    standby = Standby(vm_dir, config, stop, ours)
    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()

    def read() -> None:
        loop.remove_reader(descriptor)  # one word, or the end
        standby.hear(os.read(descriptor, 16).strip())

    loop.add_reader(descriptor, read)
    try:
        return await standby.run()
    finally:
        loop.remove_reader(descriptor)


class Standby:
    """One spare, beside the slave ``ours`` until that dies; ``stop`` ends the wait."""

    def __init__(self, vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event, ours: Identity | None) -> None:
        self._vm_dir = vm_dir
        self._config = config
        self._stop = stop
        self._ours = ours
        self._times = Times.of(config.keepalive, config.restart)
        self._journal = Journal(vm_dir.journal, config.vm, "spare")
        self._memory = Memory()
        self._alone = False
        self._word = b""
        self._answers: bool | None = None  # to the last question; None where it says nothing of the slave
        self._plan: Plan | None = None
        self._child: Child | None = None  # the slave that we launched
        self._news = asyncio.Event()
        self._complained_s = 0.0

    def hear(self, word: bytes) -> None:
        """Take the slave's word; b"" is the end of its line."""
        self._word = word
        if not word:
            log.warning("the slave is gone: standing guard")
            self._alone = True
        self._news.set()

    async def run(self) -> bool:
        """Look and act until it is clear whether this process becomes the master."""
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._ask(), name="ask-slave")
            try:
                return await self._stand_by()
            finally:
                asking.cancel()

    async def _stand_by(self) -> bool:
        while not self._stop.is_set():
            if self._word:
                return self._word == b"go"
            self._news.clear()
            master = None
            try:
                view = self._view()
                master = view.master
                self._memory, actions = judge(self._memory, view, Me.SPARE, time.monotonic(), self._times)
                decided = await self._act(actions)
            except OSError as error:  # we lack something ourselves: look again
                self._complain(error)
                decided = None
            if decided is not None:
                return decided
            await self._rest(master)
        return False

    async def _rest(self, master: places.Seen | None) -> None:
        """Wait for news; alone, at most until the next look, or for the master's death, which a pidfd tells."""
        if not self._alone:
            await first_of(self._news.wait(), self._stop.wait())
        elif master is not None and master.identity is not None:
            await await_death(master.identity, TICK_S)
        else:
            await asyncio.sleep(TAKEN_LOOK_S if master is not None and master.taken else TICK_S)

    def _view(self) -> View:
        vm_dir = self._vm_dir
        slave = places.look(vm_dir, "slave")
        born = self._unannounced(slave)
        return View(
            slave=places.Seen(
                slave.identity, slave.taken or born is not None, slave.letter, None, self._answers, slave.known
            ),
            master=places.look(vm_dir, "master"),
            wanted=frozenset(role for role in PARTNERS if intent.may_start(vm_dir, role)),
            leaving=frozenset(role for role in PARTNERS if intent.must_not_run(vm_dir, role)),
            waits=self._plan is None and budget.is_waiting(vm_dir),
            ours=self._ours,
            alone=self._alone,
            born=born,
        )

    def _unannounced(self, slave: places.Seen) -> Identity | None:
        child = self._child
        if child is None or child.process.poll() is not None or slave.identity == child.identity:
            return None
        return child.identity

    # --- what the judge says --------------------------------------------------------------------------------

    async def _act(self, actions: Iterable[Action]) -> bool | None:
        """Carry out what the judge says; True to become the master, False to leave, None to look again."""
        wanted = None
        for action in actions:
            match action.act:
                case Act.END:
                    await self._end(action)
                case Act.LEAVE:
                    return False
                case Act.RESCUE | Act.LAUNCH_SLAVE:
                    wanted = action
        self._plan, is_due = follow(self._plan, wanted, time.monotonic(), self._withdraw)
        if wanted is None or not is_due:
            return None
        if wanted.act is Act.RESCUE:
            return True
        self._launch_slave()
        return None

    async def _end(self, action: Action) -> None:
        assert action.victim is not None
        log.warning("the slave, process %d, %s: ending it", action.victim.pid, action.cause)
        if (await kill_and_await(action.victim)).is_dead:  # else the judge says it again
            self._journal.write(events.Down(of="slave", cause=action.cause, partner_pid=action.victim.pid))

    def _withdraw(self, action: Action) -> float:
        rescue = action.act is Act.RESCUE
        role = action.place.value
        spent, wait_s = budget.withdraw(self._vm_dir, self._config.restart, role, random.random())
        if rescue:  # the slave died too: as a master we launch it at once, and nobody else counts it
            budget.count(self._vm_dir, "slave")
        kind = events.Rescue if rescue else events.SlaveLaunch
        self._journal.write(kind(cause=action.cause, wait_ms=round(wait_s * 1000), restarts=spent.delayed))
        return wait_s

    def _launch_slave(self) -> None:
        """Launch the slave in the master's place; one that comes second finds the lock taken, and leaves."""
        try:
            self._child = spawn(self._vm_dir, self._config, "slave")
        except SnsError as error:
            log.error("%s", error.message)

    # --- questions to the slave -----------------------------------------------------------------------------

    async def _ask(self) -> None:
        """Ask our slave at each interval whether it serves, until it is dead."""
        keepalive = self._config.keepalive
        while self._ours is not None and not self._alone:
            await asyncio.sleep(keepalive.interval_s)
            # Without its socket nobody can reach a healthy slave either: a removed file is no hang.
            can_ask = (self._vm_dir.run / "slave.sock").exists() and not lacks_descriptors()
            answers = await is_serving(SLAVE_SOCKET, keepalive.timeout_s) if can_ask else None
            # Silence says nothing of the slave where this process could not open a connection.
            self._answers = None if not answers and lacks_descriptors() else answers
            self._news.set()

    def _complain(self, error: OSError) -> None:
        if time.monotonic() - self._complained_s >= COMPLAIN_EVERY_S:
            self._complained_s = time.monotonic()
            log.error("cannot look at the pair: %s; looking again", error)
