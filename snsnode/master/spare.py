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

from snsnode.base.errors import SnsError
from snsnode.node import budget, intent
from snsnode.node.config import NodeConfig
from snsnode.node.lock import Holder, is_locked, live_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import state_of
from snsnode.observe.journal import Journal
from snsnode.pair.fence import await_death, kill_and_await
from snsnode.pair.machine import LATE_S, Cause
from snsnode.pair.spawn import spawn
from snsnode.transport.health import is_serving

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
SLAVE_SOCKET = "unix:run/slave.sock"  # relative to the working directory: a socket's name may have 107 bytes only


async def wait_for_turn(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event) -> bool:
    """Stand by; True when this process is to become the master, False when it is to leave."""
    ours = live_holder(vm_dir, "slave")
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
    waits = [asyncio.ensure_future(event.wait()) for event in (heard, stop)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(descriptor)
        for wait in waits:
            wait.cancel()
    return os.read(descriptor, 16).strip() if heard.is_set() else b"leave"


async def _end_hung_slave(config: NodeConfig, vm_dir: VmDir, slave: Holder | None) -> None:
    """End our slave when it has not answered for longer than the master, its first guard, would wait."""
    keepalive = config.keepalive
    # From the sleep to the answer: we may be frozen, and go on, in the middle of either.
    look_max_s = keepalive.interval_s + keepalive.timeout_s + LATE_S
    answered_s = time.monotonic()
    while slave is not None:
        look_s = time.monotonic()
        await asyncio.sleep(keepalive.interval_s)
        # Without its socket nobody can reach a healthy slave either: that somebody removed a file is no hang.
        deaf = not (vm_dir.run / "slave.sock").exists()
        excused = deaf or state_of(slave.identity) == "t" or not intent.may_start(vm_dir, "slave")
        answers = excused or await is_serving(SLAVE_SOCKET, keepalive.timeout_s)
        late = time.monotonic() - look_s > look_max_s  # we did not run: we know nothing
        if answers or late:
            answered_s = time.monotonic()
        elif time.monotonic() - answered_s > keepalive.silence_s + keepalive.interval_s:
            log.warning("the slave, process %d, does not answer: ending it", slave.identity.pid)
            Journal(vm_dir.journal, config.vm, "spare").write(
                "slave-down", cause=Cause.SILENT.value, partner_pid=slave.identity.pid
            )
            await kill_and_await(slave.identity)
            return


async def _guard(vm_dir: VmDir, config: NodeConfig, stop: asyncio.Event, dead: Holder | None) -> bool:
    """Stand by beside the master, without the slave ``dead``."""
    since_s = time.monotonic()
    while not stop.is_set():
        if intent.must_not_run(vm_dir, "master") or intent.is_stopped(vm_dir, "slave"):
            return False
        slave = live_holder(vm_dir, "slave")
        # Ours closed its line before the kernel called it dead: only another one is a new guard.
        if slave is not None and slave != dead:
            return False
        master = live_holder(vm_dir, "master")
        if master is not None:
            if time.monotonic() - since_s > config.keepalive.silence_s and intent.may_start(vm_dir, "slave"):
                await _launch_slave(vm_dir, config)
                since_s = time.monotonic()
            await await_death(master.identity, LOOK_EVERY_S)
        elif is_locked(vm_dir, "master"):
            await asyncio.sleep(0.005)  # somebody takes the role right now and has not announced itself yet
        elif intent.is_paused(vm_dir):
            await asyncio.sleep(LOOK_EVERY_S)
        else:
            return await _rescue(vm_dir, config)
    return False


async def _rescue(vm_dir: VmDir, config: NodeConfig) -> bool:
    spent, wait_s = budget.withdraw(vm_dir, config.restart, "master", random.random())
    budget.count(vm_dir, "slave")  # it died too: as a master we launch it at once, and nobody else counts it
    Journal(vm_dir.journal, config.vm, "spare").write(
        "rescue", cause="master and slave died", wait_ms=round(wait_s * 1000), restarts=spent.delayed
    )
    await asyncio.sleep(wait_s)
    return True


async def _launch_slave(vm_dir: VmDir, config: NodeConfig) -> None:
    """Launch the slave in the master's place; one that comes second finds the lock taken, and leaves."""
    spent, wait_s = budget.withdraw(vm_dir, config.restart, "slave", random.random())
    Journal(vm_dir.journal, config.vm, "spare").write(
        "slave-launch", cause="the master launches no slave", wait_ms=round(wait_s * 1000), restarts=spent.delayed
    )
    await asyncio.sleep(wait_s)
    if live_holder(vm_dir, "slave") is None and intent.may_start(vm_dir, "slave"):
        try:
            spawn(vm_dir, config, "slave")
        except SnsError as error:
            log.error("%s", error.message)
