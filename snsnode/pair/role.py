"""How every partner begins and ends: arguments, configuration, log, lock, signals, exit codes."""

import argparse
import asyncio
import contextlib
import errno
import logging
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from snsnode.base import aside, trust
from snsnode.base.errors import EXIT_NOT_SO, ConfigError, Held, SnsError
from snsnode.base.signals import start_clean
from snsnode.node import config as node_config
from snsnode.node import intent
from snsnode.node.config import ROLES, NodeConfig, RoleName
from snsnode.node.lock import RoleLock
from snsnode.node.paths import VmDir
from snsnode.observe import logs
from snsnode.observe.events import Failed
from snsnode.observe.journal import Journal
from snsnode.pair import disk

log = logging.getLogger(__name__)

KEEP_EVERY_S = 0.5
TAKE_EVERY_S = 0.005
# What the machine has no more of: the message says all, and a traceback would only fill the disk further.
_USED_UP = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def arguments(role: RoleName, *flags: str) -> argparse.Namespace:
    """Read the command line of a role: the VM's name, and ``flags``."""
    parser = argparse.ArgumentParser(
        prog=f"python -m snsnode.{role}", description="'snsctl start' does it for you."
    )
    parser.add_argument("vm", help="the VM's name; its folder is the working directory")
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    return parser.parse_args()


Run = Callable[[VmDir, NodeConfig, asyncio.Event], Awaitable[None]]


def main(role: RoleName, vm: str, run: Run, who: Callable[[], str] | None = None) -> int:
    """Run a role to its end and return its exit code: 0 after a stop, 1, or 78 for bad configuration.

    ``run`` gets an event that SIGTERM and SIGINT set; it then finishes what is in flight and returns. ``who``
    names who writes into the journal, where that is not always the role: a spare is no master yet.
    """
    start_clean()
    vm_dir = VmDir(Path.cwd())
    journal: Journal | None = None  # until the folder is known to be ours
    try:
        trust.check_vm(vm_dir.path)
        trust.check_logs(vm_dir.path)
        config = node_config.load(vm_dir.path)
        if config.vm != vm:
            raise ConfigError(f"cannot run {vm} in {vm_dir.path}: its node.json is of {config.vm}")
        config.endpoint("router" if role == "router" else "master")
        journal = Journal(vm_dir.journal, vm, who or role)
        aside.listeners.append(journal.note_damage)
        vm_dir.make()
        logs.to_file(vm_dir.log(role), role, vm)
        _take_all_descriptors()
        try:
            asyncio.run(_until_stopped(run, vm_dir, config))
        finally:
            disk.flush()
    except SnsError as error:
        log.error("%s", error.message)
        _tell_end(journal, error.message, error.exit_code)
        print(f"{role} {vm}: {error.message}", file=sys.stderr, flush=True)  # noqa: T201
        return error.exit_code
    except OSError as error:  # a full disk, no more descriptors: the partner tries again, ever more slowly
        log.error("cannot go on: %s", error, exc_info=error.errno not in _USED_UP)
        _tell_end(journal, f"cannot go on: {error}", EXIT_NOT_SO)
        print(f"{role} {vm}: cannot go on: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return EXIT_NOT_SO
    return 0


def _tell_end(journal: Journal | None, cause: str, exit_code: int) -> None:
    if journal is not None:
        journal.write(Failed(cause=cause, exit_code=exit_code))


def _take_all_descriptors() -> None:
    """Raise the soft limit of open files to the hard one: each client is a descriptor or two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _until_stopped(run: Run, vm_dir: VmDir, config: NodeConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    try:
        await run(vm_dir, config, stop)
    except BaseExceptionGroup as group:
        raise first_error(group) from group


async def take_role(lock: RoleLock, within_s: float) -> None:
    """Take the lock, waiting at most ``within_s`` for a dying holder, and turn the event loop meanwhile.

    Raises:
        Held: a live process has it; the message names it.
    """
    until_s = time.monotonic() + within_s
    while True:
        try:
            lock.take()
            return
        except Held:
            if time.monotonic() >= until_s:
                raise
        await asyncio.sleep(TAKE_EVERY_S)


async def keep_role(vm_dir: VmDir, lock: RoleLock, stop: asyncio.Event) -> None:
    """Hold on to the role: mend a lost lock file, and heed a stop that no signal brought.

    Somebody may remove ``run/`` under us, and with it all that a stop finds us by; the intent still reaches us.
    """
    while True:
        await asyncio.sleep(KEEP_EVERY_S)
        with contextlib.suppress(OSError):  # a full disk, no descriptor left: the next look does it
            lock.keep()
            if lock.name in ROLES and intent.is_stopped(vm_dir, lock.name):
                stop.set()


async def run_until(stop: asyncio.Event, *tasks: tuple[str, Coroutine[Any, Any, None]]) -> None:
    """Run ``tasks`` until ``stop`` is set; then cancel them. One that fails ends all, with its error."""
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(task, name=name) for name, task in tasks]
        await stop.wait()
        for task in running:
            task.cancel()


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first of our errors in ``group``, else its first leaf."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if isinstance(leaf, SnsError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
