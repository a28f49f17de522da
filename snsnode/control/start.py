"""Start roles of this machine's VMs through their supervisord, and wait until they serve."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from snsnode.base import trust
from snsnode.base.errors import ConfigError, Unavailable
from snsnode.control import ports
from snsnode.control.local import SUPERVISORD_CONF, LocalVm
from snsnode.control.logs import Logs
from snsnode.control.serving import serves
from snsnode.control.stop import end_silent_supervisord
from snsnode.control.supervisords import supervisords_of
from snsnode.node import intent
from snsnode.node.config import RoleName
from snsnode.node.lock import is_locked, live_holder
from snsnode.render.local_files import refuse_odd, without_names
from snsnode.supervisord.proxy import ALREADY_STARTED, CANT_REREAD, NOT_RUNNING, Supervisor, SupervisorFault

SUPERVISORD_WITHIN_S = 15.0
RIVAL_WITHIN_S = 3.0  # ours lost its socket to another, which answers soon
SERVES_WITHIN_S = 30.0
STOP_WITHIN_S = 30.0  # supervisord's own limit is 10 s for one program
LOOK_EVERY_S = 0.05
RELOAD_S = 2.0  # for so long a supervisord that reloads may have no socket
OWN_PORT_S = 0.3  # our own, which comes or goes just now, has lock and port one after the other

Tell = Callable[[str], None]


def start_supervisord(vm: LocalVm, roles: Sequence[RoleName] = ()) -> bool:
    """Start the VM's supervisord unless it runs; True when it was started.

    Raises:
        ConfigError: what it would include is no file.
        Unavailable: it did not come up, or one is there and does not answer; or somebody stopped one of ``roles``
            meanwhile. The message says why.
    """
    supervisor = Supervisor(vm.dir.supervisor_socket)
    if supervisor.is_running():
        return False
    end_silent_supervisord(vm.dir)
    vm.dir.make()
    refuse_odd(vm.dir.local)
    try:
        done = subprocess.run(
            # -P: a folder "supervisor" where this is called is not imported.
            [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(vm.dir.path / SUPERVISORD_CONF)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SUPERVISORD_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"cannot start supervisord of {vm.name}: it does not come up within {SUPERVISORD_WITHIN_S:.0f} s; "
            f"see {vm.dir.log('supervisord')}"
        ) from None
    if done.returncode:
        said = _said(done.stdout)
        if supervisords_of(vm.dir.path):
            with contextlib.suppress(Unavailable):  # somebody else is starting it at the same moment
                _wait(supervisor.is_running, RIVAL_WITHIN_S, lambda: said)
                return False
        raise Unavailable(f"cannot start supervisord of {vm.name}: {said or f'exit code {done.returncode}'}")

    def answers() -> bool:
        _give_up_if_stopped(vm, roles)
        return supervisor.is_running()

    _wait(
        answers,
        SUPERVISORD_WITHIN_S,
        lambda: f"supervisord of {vm.name} did not come up: {vm.dir.log('supervisord')}",
    )
    return True


def _said(output: str) -> str:
    """Return why supervisord did not start: what follows its last "Error:", without the environment."""
    said = " ".join(output.split())
    cause = said.rpartition("Error: ")[2].partition(" For help, use ")[0]
    return without_names(cause)[:500] if "Error: " in said else said[-500:]


def _environment() -> dict[str, str]:
    """Return our environment, in which PYTHONPATH means the same folders from every working directory."""
    found = dict(os.environ)
    if paths := found.get("PYTHONPATH"):
        # An empty entry is the working directory: of a role that would be its VM's folder.
        found["PYTHONPATH"] = os.pathsep.join(
            str(Path(path).absolute()) for path in paths.split(os.pathsep) if path
        )
    return found


def is_managed(vm: LocalVm) -> bool:
    """Tell whether the VM's supervisord runs and answers."""
    return Supervisor(vm.dir.supervisor_socket).is_running()


def start_roles(vm: LocalVm, roles: Sequence[RoleName], tell: Tell) -> None:
    """Start ``roles`` of ``vm`` that do not run, in order, and wait until each serves.

    Raises:
        ConfigError: a port is somebody else's, or a role says that no restart can help it.
        Unavailable: a role did not come up in time; the message has the last line of its log.
    """
    prepare(vm, roles)
    logs = Logs(vm.dir)
    try:
        start_supervisord(vm, roles)
        for role in roles:
            _start(vm, role, logs)
        for role in roles:
            _wait_serving(vm, role, logs)
    except Unavailable:
        _give_up_if_stopped(vm, roles)  # the true cause of whatever failed
        raise
    for role in roles:
        tell(f"{vm.name} {role}: {'up' if role == 'slave' else 'serving on ' + vm.config.endpoint(role).target}")


def prepare(vm: LocalVm, roles: Sequence[RoleName]) -> None:
    """Make sure that ``roles`` can start, and clear the intents that keep them stopped.

    Raises:
        ConfigError: a log or a port is somebody else's.
    """
    trust.check_logs(vm.dir.path)
    for role in roles:
        _check_port(vm, role)
    for role in roles:
        intent.start(vm.dir, role)


def apply_changes(vm: LocalVm, tell: Tell) -> None:
    """Bring a running VM to what was generated: programs added and removed, roles with old settings restarted.

    It does not wait until they serve: a new slave's master serves on a new port only after its own restart.
    """
    _update_programs(Supervisor(vm.dir.supervisor_socket), tell, vm)
    for role in vm.config.roles:
        holder = live_holder(vm.dir, role)
        if holder is not None and holder.config and holder.config != vm.config.digest(role):
            tell(f"{vm.name} {role}: its settings changed, restarting")
            _stop_and_start(vm, role, Logs(vm.dir))


def restart_role(vm: LocalVm, role: RoleName) -> None:
    """Stop and start one role, drained, through supervisord; wait until it serves.

    Raises:
        ConfigError: its port is somebody else's; nothing was stopped.
        Unavailable: it did not come up in time; the message says why.
    """
    trust.check_logs(vm.dir.path)
    listener: RoleName = "master" if role == "slave" else role
    if not _listens(vm, listener):
        _refuse_taken_port(vm, role, listener)
    logs = Logs(vm.dir)
    _stop_and_start(vm, role, logs)
    _wait_serving(vm, role, logs)


def _stop_and_start(vm: LocalVm, role: RoleName, logs: Logs) -> None:
    try:
        Supervisor(vm.dir.supervisor_socket).call("stopProcess", role, timeout_s=STOP_WITHIN_S)
    except SupervisorFault as fault:
        if fault.fault != NOT_RUNNING:
            raise Unavailable(f"cannot restart the {role} of {vm.name}: {fault.message}") from None
    _start(vm, role, logs)


def _update_programs(supervisor: Supervisor, tell: Tell, vm: LocalVm) -> None:
    """Do what ``supervisorctl update`` does."""
    try:
        added, changed, removed = supervisor.call("reloadConfig")[0]
        for name in (*removed, *changed):
            supervisor.call("stopProcessGroup", name, timeout_s=STOP_WITHIN_S)
            supervisor.call("removeProcessGroup", name)
        for name in (*changed, *added):
            supervisor.call("addProcessGroup", name)
    except SupervisorFault as fault:
        more = f"; run 'snsctl restart --vm {vm.name}'" if fault.fault == CANT_REREAD else ""
        raise Unavailable(f"cannot update the programs of {vm.name}: {fault.message}{more}") from None
    for what, names in (("added", added), ("changed", changed), ("removed", removed)):
        if names:
            tell(f"{vm.name}: {what} {', '.join(names)}")


def _check_port(vm: LocalVm, role: RoleName) -> None:
    """Refuse a port that somebody else has, before anything is started."""
    listener: RoleName = "master" if role == "slave" else role
    endpoint = vm.config.endpoint(listener)
    until_s = time.monotonic() + OWN_PORT_S
    while not is_locked(vm.dir, listener) and not ports.is_free(endpoint.address, endpoint.port):
        if time.monotonic() > until_s:
            _refuse_taken_port(vm, role, listener)
            return
        time.sleep(LOOK_EVERY_S)


def _refuse_taken_port(vm: LocalVm, role: RoleName, listener: RoleName) -> None:
    endpoint = vm.config.endpoint(listener)
    if not ports.is_free(endpoint.address, endpoint.port):
        kind = "router" if role == "router" else "server"
        who = ports.holder(endpoint.address, endpoint.port)
        raise ConfigError(
            f"cannot start the {role} of {vm.name}: {endpoint.target} is in use by {who}; "
            f"end it, or change vms.{vm.name}.{kind}.port in the spec and run 'snsctl generate'"
        )


def _listens(vm: LocalVm, listener: RoleName) -> bool:
    """Tell whether ``listener`` itself has its port, or is about to take it or to let it go."""
    holder = live_holder(vm.dir, listener)
    if holder is None:
        return is_locked(vm.dir, listener)
    endpoint = vm.config.endpoint(listener)
    return ports.listener(endpoint.address, endpoint.port) in (None, holder.identity.pid)


def _start(vm: LocalVm, role: RoleName, logs: Logs) -> None:
    try:
        Supervisor(vm.dir.supervisor_socket).call("startProcess", role, False)
    except SupervisorFault as fault:
        if fault.fault != ALREADY_STARTED:
            raise Unavailable(
                f"cannot start the {role} of {vm.name}: {fault.message}; {logs.cause(role)}"
            ) from None


def _wait_serving(vm: LocalVm, role: RoleName, logs: Logs) -> None:
    """Wait until ``role`` serves; a slave does when its master does, unless that was stopped on purpose."""

    listener: RoleName = "master" if role == "slave" else role
    supervisor = Supervisor(vm.dir.supervisor_socket)
    seen_s = time.monotonic()  # when supervisord's socket was there last

    def is_up() -> bool:
        nonlocal seen_s
        _give_up_if_stopped(vm, (role,))
        if live_holder(vm.dir, role) is None:
            _give_up_if_hopeless(vm, role, logs)
            if vm.dir.supervisor_socket.exists():
                seen_s = time.monotonic()
            elif time.monotonic() > seen_s + RELOAD_S:
                raise Unavailable(f"cannot start the {role} of {vm.name}: its supervisord was ended meanwhile")
            return False
        expected = {role} if intent.is_stopped(vm.dir, listener) else {role, listener}
        if (
            role == "slave"
            and listener in expected
            and intent.is_paused(vm.dir)
            and not is_locked(vm.dir, listener)
        ):
            raise Unavailable(
                f"cannot start the master of {vm.name}: its slave runs, but restarting is paused; "
                f"'snsctl resume {vm.name}' ends that"
            )
        if listener in expected and not serves(vm.config.endpoint(listener).target):
            _give_up_if_hopeless(vm, listener, logs)
            return False
        # supervisord, too, shall tell the truth to whoever asks it next.
        programs = supervisor.programs()
        return all(programs[name].state == "RUNNING" for name in expected if name in programs)

    def otherwise() -> str:
        what = f"the {role} of {vm.name} does not serve within {SERVES_WITHIN_S:.0f} s"
        return f"{what}; {logs.cause(role)}"

    _wait(is_up, SERVES_WITHIN_S, otherwise)


def _give_up_if_stopped(vm: LocalVm, roles: Sequence[RoleName]) -> None:
    """Say so where somebody has stopped one of ``roles``, whose intents this start had cleared."""
    for role in roles:
        if intent.is_stopped(vm.dir, role):
            raise Unavailable(f"cannot start the {role} of {vm.name}: somebody stopped it meanwhile")


def _give_up_if_hopeless(vm: LocalVm, role: RoleName, logs: Logs) -> None:
    if logs.is_hopeless(role) and not is_locked(vm.dir, role):
        raise ConfigError(f"cannot start the {role} of {vm.name}: {logs.cause(role)}")


def _wait(is_true: Callable[[], bool], within_s: float, otherwise: Callable[[], str]) -> None:
    until_s = time.monotonic() + within_s
    while not is_true():
        if time.monotonic() > until_s:
            raise Unavailable(f"cannot start: {otherwise()}")
        time.sleep(LOOK_EVERY_S)
