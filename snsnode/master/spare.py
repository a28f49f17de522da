"""The spare's wait: a master that has imported everything and stands by until it is told, or needed.

Its slave writes "go" or "leave" on its standard input. When the line just ends, the slave died: then the spare
is the pair's last guard. Where the master is dead too it takes its place; while the master lives it stands by,
until a new slave, with a spare of its own, has appeared. A master that launches none may hang, and only a slave
can tell: then the spare launches it. And a slave that hangs is the master's to replace; where the master is dead
or hangs as well, the spare ends the slave, and its heirs see to the rest.
"""

import asyncio
import logging
import os
import random
import sys
import time
from collections.abc import Callable

from snsnode.base.errors import SnsError
from snsnode.node import budget, intent
from snsnode.node.config import NodeConfig
from snsnode.node.lock import Holder, is_locked, live_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import state_of
from snsnode.node.shortage import is_shortage, lacks_descriptors
from snsnode.observe.journal import Journal
from snsnode.pair.fence import await_death, kill_and_await
from snsnode.pair.machine import LATE_S, SILENT_MIN_S, Cause
from snsnode.pair.spawn import spawn
from snsnode.pair.tasks import first_of
from snsnode.transport.health import is_serving

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
SLAVE_SOCKET = "unix:run/slave.sock"  # relative to the working directory: a socket's name may have 107 bytes only


async def wait_for_turn(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event) -> bool:
    """Stand by; True when this process is to become the master, False when it is to leave."""
    found = live_holder(vm_dir, "slave")
    # Ours is our parent. Where it died while we imported, who holds its role now has a spare of its own.
    ours = found if found is not None and found.identity.pid == os.getppid() else None
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_end_hung_slave(config, vm_dir, ours), name="watch-of-slave")
        word = await _word(stop)
        watch.cancel()
    if word == b"go":
        return True
    if word != b"":
        return False
    log.warning("the slave is gone: standing guard")
    return await _guard(vm_dir, config, stop, ours)


async def _word(stop: asyncio.Event) -> bytes:
    """Return what the slave said; b"" when it died, b"leave" when we were stopped."""
    loop = asyncio.get_running_loop()
    heard = asyncio.Event()
    descriptor = sys.stdin.fileno()
    loop.add_reader(descriptor, heard.set)
    try:
        await first_of(heard.wait(), stop.wait())
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 16).strip() if heard.is_set() else b"leave"


async def _end_hung_slave(config: NodeConfig, vm_dir: VmDir, slave: Holder | None) -> None:
    """End our slave when it has not answered for longer than the master, its first guard, would wait."""
    keepalive = config.keepalive
    silence_s = max(keepalive.silence_s, SILENT_MIN_S) + keepalive.interval_s
    # From the sleep to the answer: we may be frozen, and go on, in the middle of either.
    look_max_s = keepalive.interval_s + keepalive.timeout_s + LATE_S
    answered_s = time.monotonic()
    while slave is not None:
        look_s = time.monotonic()
        await asyncio.sleep(keepalive.interval_s)
        # Without its socket nobody can reach a healthy slave either: that somebody removed a file is no hang.
        deaf = not (vm_dir.run / "slave.sock").exists()
        excused = deaf or lacks_descriptors() or _is_excused(vm_dir, slave)
        answers = excused or await is_serving(SLAVE_SOCKET, keepalive.timeout_s) or lacks_descriptors()
        late = time.monotonic() - look_s > look_max_s  # we did not run: we know nothing
        if answers or late:
            answered_s = time.monotonic()
        elif time.monotonic() - answered_s > silence_s:
            log.warning("the slave, process %d, does not answer: ending it", slave.identity.pid)
            Journal(vm_dir.journal, config.vm, "spare").write(
                "slave-down", cause=Cause.SILENT.value, partner_pid=slave.identity.pid
            )
            await kill_and_await(slave.identity)
            return


def _is_excused(vm_dir: VmDir, slave: Holder) -> bool:
    try:
        return state_of(slave.identity) == "t" or not intent.may_start(vm_dir, "slave")
    except OSError as error:
        if not is_shortage(error):
            raise
        return True  # we know nothing


async def _guard(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event, dead: Holder | None) -> bool:
    """Stand by beside the master, without the slave ``dead``."""
    since_s = looked_s = time.monotonic()
    while not stop.is_set():
        if lacks_descriptors():  # we know nothing
            await asyncio.sleep(LOOK_EVERY_S)
            continue
        if _must_leave(vm_dir):
            return False
        slave = live_holder(vm_dir, "slave")
        # Ours closed its line before the kernel called it dead: only another one is a new guard.
        if slave is not None and slave != dead:
            return False
        now_s = time.monotonic()
        late = now_s - looked_s > LOOK_EVERY_S + LATE_S  # we did not run: we know nothing
        # Nor is it silence where nobody is to launch a slave, or where the budget says when.
        if late or not intent.may_start(vm_dir, "slave") or budget.is_waiting(vm_dir):
            since_s = now_s
        looked_s = now_s
        master = live_holder(vm_dir, "master")
        if master is not None:
            if now_s - since_s > config.keepalive.silence_s:
                await _launch_slave(vm_dir, config, stop)
                since_s = looked_s = time.monotonic()
            await await_death(master.identity, LOOK_EVERY_S)
        elif is_locked(vm_dir, "master"):
            await asyncio.sleep(0.005)  # somebody takes the role right now and has not announced itself yet
        elif intent.is_paused(vm_dir):
            await asyncio.sleep(LOOK_EVERY_S)
        elif await _rescue(vm_dir, config, stop, dead):
            return True
        else:
            await asyncio.sleep(LOOK_EVERY_S)
    return False


def _must_leave(vm_dir: VmDir) -> bool:
    return intent.must_not_run(vm_dir, "master") or intent.is_stopped(vm_dir, "slave")


async def _rescue(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event, dead: Holder | None) -> bool:
    """Wait as the budget says; True where it is still for us to become the master."""
    spent, wait_s = budget.withdraw(vm_dir, config.restart, "master", random.random())
    budget.count(vm_dir, "slave")  # it died too: as a master we launch it at once, and nobody else counts it
    Journal(vm_dir.journal, config.vm, "spare").write(
        "rescue", cause="master and slave died", wait_ms=round(wait_s * 1000), restarts=spent.delayed
    )

    def is_ours() -> bool:
        if live_holder(vm_dir, "master") is not None or live_holder(vm_dir, "slave") not in (None, dead):
            return False
        return not (_must_leave(vm_dir) or intent.is_paused(vm_dir))

    return await _wait(wait_s, stop, is_ours)


async def _launch_slave(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event) -> None:
    """Launch the slave in the master's place; one that comes second finds the lock taken, and leaves."""
    spent, wait_s = budget.withdraw(vm_dir, config.restart, "slave", random.random())
    Journal(vm_dir.journal, config.vm, "spare").write(
        "slave-launch", cause="the master launches no slave", wait_ms=round(wait_s * 1000), restarts=spent.delayed
    )

    def is_ours() -> bool:
        if live_holder(vm_dir, "master") is None or live_holder(vm_dir, "slave") is not None:
            return False
        return intent.may_start(vm_dir, "slave")

    if await _wait(wait_s, stop, is_ours) and is_ours():
        try:
            spawn(vm_dir, config, "slave")
        except SnsError as error:
            log.error("%s", error.message)


async def _wait(wait_s: float, stop: asyncio.Event, is_ours: Callable[[], bool]) -> bool:
    """Wait ``wait_s``; False as soon as we are stopped, or what we wait for is no longer ours to do."""
    until_s = time.monotonic() + wait_s
    while (left_s := until_s - time.monotonic()) > 0:
        if stop.is_set() or not is_ours():
            return False
        await asyncio.sleep(min(left_s, LOOK_EVERY_S))
    return not stop.is_set()
