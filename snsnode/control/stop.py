"""Stop roles of this machine's VMs, for good: the intent first, then every process, by pid and start time.

What supervisord does not know of, or cannot end because it is dead or frozen itself, is ended directly.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from snsnode.base.errors import Exhausted, Unavailable
from snsnode.control import processes
from snsnode.control.supervisords import supervisords_of, unproven_of
from snsnode.node import ending, intent
from snsnode.node.config import ROLES, RoleName
from snsnode.node.ending import Outcome
from snsnode.node.lock import is_locked, live_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify, is_alive, state_of, wait_dead
from snsnode.supervisord.proxy import Supervisor, SupervisorFault

GRACE_S = 12.0  # a role drains within this
DIE_WITHIN_S = 5.0
SUPERVISORD_S = 30.0
ANSWER_S = 1.5  # a supervisord that is silent for so long is frozen, or its socket is gone
LOOK_EVERY_S = 0.02
PROVEN_WITHIN_S = 3.0  # a supervisord that just starts listens and logs within this
RESPAWNED_WITHIN_S = 1.0  # something that restarts what we end does it within this
ENDED_MAX = 5  # of one role, before we say that somebody keeps starting it


def stop_role(vm_dir: VmDir, role: RoleName) -> bool:
    """Stop one role; False when it did not run. Its partner leaves it alone until it is started.

    Raises:
        Exhausted: the intent cannot be recorded (full or read-only disk); nothing was stopped.
        Unavailable: it does not die (it is in an uninterruptible system call), is another user's, or somebody
            keeps starting it.
    """
    ran = live_holder(vm_dir, role) is not None
    try:
        intent.stop(vm_dir, role)
    except OSError as error:
        raise Exhausted(
            f"cannot stop the {role} of {vm_dir.path.name}: this cannot be recorded ({error.strerror}), so its "
            "partner would restart it; make room, or stop the whole VM"
        ) from None
    with _told(vm_dir):
        _stop_role(vm_dir, role)
    return ran


def _stop_role(vm_dir: VmDir, role: RoleName) -> None:
    others = _starters(vm_dir)
    supervisor = Supervisor(vm_dir.supervisor_socket)
    # A frozen supervisord would carry the order out when it thaws: against a start that came meanwhile.
    if supervisor.is_running(ANSWER_S):
        with contextlib.suppress(SupervisorFault, Unavailable):  # not running there
            supervisor.call("stopProcess", role, timeout_s=SUPERVISORD_S)
    _end(vm_dir, role)
    if role == "slave":
        _end(vm_dir, "spare")
    _await_quiet(vm_dir, others, role)


def stop_all(vm_dir: VmDir, roles: Sequence[RoleName]) -> None:
    """Stop everything of a VM, its supervisord too; return when no process of it is left.

    Raises:
        Exhausted: everything was ended, but the wish could not be recorded: a reboot will start it again.
        Unavailable: a process does not die, is another user's or not proven to be ours, or is started again and
            again.
    """
    unrecorded = _record(vm_dir, roles)
    with _told(vm_dir):
        others = _starters(vm_dir)
        if unrecorded is not None:
            # Without intents the partners would revive each other while we end them one by one.
            _refuse_forbidden(ending.kill_all(_all_of(vm_dir), DIE_WITHIN_S).values())
        end_supervisord(vm_dir)
        for name in ("slave", "spare", "master", "router"):
            _end(vm_dir, name)
        _sweep(vm_dir)
        _await_quiet(vm_dir, others)
        _refuse_unproven(vm_dir)
    _tidy(vm_dir)
    if unrecorded is not None:
        raise Exhausted(
            f"cannot record that {vm_dir.path.name} shall stay stopped ({unrecorded.strerror}): its processes are "
            "ended, but a reboot or a supervisord starts them again"
        )


def _record(vm_dir: VmDir, roles: Sequence[RoleName]) -> OSError | None:
    try:
        for role in roles:
            intent.stop(vm_dir, role)
    except OSError as error:
        return error
    return None


@contextlib.contextmanager
def _told(vm_dir: VmDir) -> Iterator[None]:
    """Name the processes that are another user's, where the kernel forbids to signal them."""
    try:
        yield
    except PermissionError:
        left = ", ".join(processes.describe(found) for found in _all_of(vm_dir))
        raise Unavailable(
            f"cannot stop {vm_dir.path.name}: "
            f"this user may not end {left or 'its processes'}; stop it as their owner"
        ) from None


def _all_of(vm_dir: VmDir) -> list[Identity]:
    return [*supervisords_of(vm_dir.path), *processes.roles_of(vm_dir.path)]


def _sweep(vm_dir: VmDir) -> None:
    """End what no file told of: somebody removed the locks, the pid files or the socket."""
    until_s = time.monotonic() + GRACE_S + DIE_WITHIN_S
    ended: set[Identity] = set()
    while left := _all_of(vm_dir):
        if time.monotonic() > until_s or (len(ended) > ENDED_MAX and ended.isdisjoint(left)):
            raise Unavailable(f"cannot stop {vm_dir.path.name}: {_why_left(left, ended)}")
        ended |= set(left)
        _refuse_forbidden(ending.end_all(left, GRACE_S, DIE_WITHIN_S).values())


def _why_left(left: Iterable[Identity], ended: Iterable[Identity]) -> str:
    stuck = [found for found in left if found in set(ended)]
    if stuck:
        return f"{', '.join(map(processes.describe, stuck))} does not die; look at its disk"
    parents = ", ".join(processes.describe(parent) for parent in _parents(left, ())) or "somebody"
    return (
        f"{parents} starts it again and again, now as {', '.join(map(processes.describe, left))}; end that first"
    )


def _starters(vm_dir: VmDir) -> list[Identity]:
    """Return the processes that started what runs of this VM, and may again: not its own, nor init, nor us."""
    own = _all_of(vm_dir)
    return _parents(own, own)


def _parents(of: Iterable[Identity], own: Iterable[Identity]) -> list[Identity]:
    known = {identity.pid for identity in own} | {0, 1, os.getpid()}
    found: dict[int, Identity] = {}
    for identity in of:
        with contextlib.suppress(OSError):
            pid = int(Path(f"/proc/{identity.pid}/stat").read_text().rpartition(")")[2].split()[1])
            parent = identify(pid) if pid not in known else None
            if parent is not None:
                found[pid] = parent
    return list(found.values())


def _await_quiet(vm_dir: VmDir, starters: Iterable[Identity], role: RoleName | None = None) -> None:
    """Make sure that none of ``starters`` brings back what was ended: ``role``, or anything of the VM."""
    starters = [starter for starter in starters if is_alive(starter)]
    until_s = time.monotonic() + RESPAWNED_WITHIN_S
    while starters and time.monotonic() < until_s:
        found = [
            back
            for back in _all_of(vm_dir)
            if {starter.pid for starter in _parents([back], ())} & {starter.pid for starter in starters}
            and (role is None or processes.is_role(back, role))
        ]
        if found:
            raise Unavailable(f"cannot stop {role or vm_dir.path.name}: {_why_left(found, ())}")
        time.sleep(LOOK_EVERY_S)


def _refuse_unproven(vm_dir: VmDir) -> None:
    """Claim nothing while a process may be a supervisord of this VM; one that just starts is awaited."""
    until_s = time.monotonic() + PROVEN_WITHIN_S
    while left := unproven_of(vm_dir.path):
        if time.monotonic() > until_s:
            names = ", ".join(map(processes.describe, left))
            raise Unavailable(
                f"cannot tell whether {vm_dir.path.name} is stopped: {names} has its configuration or its socket, "
                "and is not proven to be its supervisord; end it if it is"
            )
        time.sleep(LOOK_EVERY_S)
        _sweep(vm_dir)


def retire(vm_dir: VmDir) -> None:
    """End a VM that left the spec, and remove what was generated for it; its logs stay."""
    stop_all(vm_dir, ROLES)
    # The mark goes last: a crash here is resumed.
    for name in ("supervisord.conf", "node.json", "cluster.json", "retired"):
        (vm_dir.path / name).unlink(missing_ok=True)
    for role in ROLES:
        intent.start(vm_dir, role)  # should the VM come back, nobody has stopped it
    _tidy(vm_dir)


def end_supervisord(vm_dir: VmDir) -> None:
    """End the VM's supervisord, and with it all its programs; raises PermissionError."""
    for found in supervisords_of(vm_dir.path):
        _refuse_forbidden([ending.end(found, SUPERVISORD_S, DIE_WITHIN_S)])


def end_silent_supervisord(vm_dir: VmDir) -> None:
    """Kill a supervisord that does not answer; its programs live on, and the next one adopts them.

    Raises:
        Unavailable: it does not die, or is another user's: a second one beside it would fight with it.
    """
    supervisor = Supervisor(vm_dir.supervisor_socket)
    for found in supervisords_of(vm_dir.path):
        if supervisor.is_running(ANSWER_S):
            return
        if state_of(found) != "T" and vm_dir.supervisor_socket.exists():
            wait_dead(found, DIE_WITHIN_S)  # it may be just starting, or shutting down
        if supervisor.is_running(ANSWER_S):
            return
        outcome = ending.kill_and_wait(found, DIE_WITHIN_S)
        if not outcome.is_dead:
            fix = (
                "end it as its owner"
                if outcome is Outcome.FORBIDDEN
                else "it is in a system call; look at its disk"
            )
            raise Unavailable(
                f"cannot start supervisord of {vm_dir.path.name}: {processes.describe(found)} is it, does not "
                f"answer, and {outcome.value}; {fix}"
            )


def _refuse_forbidden(outcomes: Iterable[Outcome]) -> None:
    """Raise PermissionError where one of ``outcomes`` is FORBIDDEN; whoever stays is found again."""
    if Outcome.FORBIDDEN in outcomes:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _end(vm_dir: VmDir, name: str) -> None:
    """End whoever holds role ``name``, and whoever is just taking it."""
    until_s = time.monotonic() + GRACE_S + 2 * DIE_WITHIN_S
    ended: set[Identity] = set()
    while is_locked(vm_dir, name):
        holder = live_holder(vm_dir, name)
        if holder is not None:
            if len(ended) >= ENDED_MAX and holder.identity not in ended:
                raise Unavailable(
                    f"cannot stop the {name} of {vm_dir.path.name}: {_why_left([holder.identity], ended)}"
                )
            ended.add(holder.identity)
            outcome = ending.end(holder.identity, GRACE_S, DIE_WITHIN_S)
            _refuse_forbidden([outcome])
            if not outcome.is_dead:
                raise Unavailable(
                    f"cannot stop the {name} of {vm_dir.path.name}: process {holder.identity.pid} is in a system "
                    "call and does not die; look at its disk"
                )
        elif time.monotonic() > until_s:
            raise Unavailable(f"cannot stop the {name} of {vm_dir.path.name}: nobody owns up to {name}.lock")
        else:
            time.sleep(LOOK_EVERY_S)


def _tidy(vm_dir: VmDir) -> None:
    """Remove what killed processes left in ``run/``; lock files stay, for a lock on a removed file is none."""
    for pattern in ("*.pid", "*.sock", "*.sock.*", "*.started", "shutdown", ".*.tmp"):
        for path in vm_dir.run.glob(pattern):
            with contextlib.suppress(OSError):
                path.unlink()
    for path in vm_dir.state.glob(".*.tmp"):  # a record that somebody was writing as it was killed
        with contextlib.suppress(OSError):
            path.unlink()
