"""The plug-in that supervisord loads: ``supervisor.rpcinterface_factory`` names ``make_rpcinterface``.

It changes the class of our programs' process objects (see ``adoption`` and ``roles``), marks a shutdown for the
partners, and makes answers fresh. Standard library and supervisor only: it lives in supervisord's process. In a
supervisord that is not ours, it only adopts what it is told to (see ``foreign``).
"""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from supervisor import events
from supervisor.options import EventListenerConfig
from supervisor.process import FastCGISubprocess, Subprocess
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface
from supervisor.states import ProcessStates
from supervisor.xmlrpc import Faults, RPCError

from snsnode import __version__
from snsnode.base import aside, trust
from snsnode.base.errors import EXIT_CONFIG, ConfigError
from snsnode.base.signals import unblock
from snsnode.node import ending, intent
from snsnode.node.config import FILENAME, ROLES, RoleName
from snsnode.node.lock import live_holder
from snsnode.node.paths import VmDir
from snsnode.observe.journal import Journal
from snsnode.supervisord import foreign, lives, logfiles
from snsnode.supervisord.adoption import Adopting, guarded
from snsnode.supervisord.foreign import PidFileProcess
from snsnode.supervisord.guards import PairGuard
from snsnode.supervisord.roles import RoleProcess
from snsnode.supervisord.router_guard import RouterGuard

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_PLUGIN = "_snsnode_plugin"


class RPCInterface(SupervisorNamespaceRPCInterface):  # type: ignore[misc]
    """supervisord's own interface, whose answers are looked up afresh."""

    def getProcessInfo(self, name: str) -> Any:  # noqa: N802
        """Return what the stock method does, of the process that really runs now.

        @param string name The name of the process (or 'group:name')
        @return struct result     A structure containing data about the process
        """
        process = self._getGroupAndProcess(name)[1]
        if isinstance(process, Adopting):
            process.look()  # the stock method takes the start time before it asks for the state
        return SupervisorNamespaceRPCInterface.getProcessInfo(self, name)

    def startProcess(self, name: str, wait: bool = True) -> Any:  # noqa: N802
        """Start a process; one that somebody else has started right now is started.

        @param string name Process name (or ``group:name``, or ``group:*``)
        @param boolean wait Wait for process to be fully started
        @return boolean result     Always true unless error
        """
        self._update("startProcess")
        process = self._getGroupAndProcess(name)[1]
        if isinstance(process, Adopting) and process.state != ProcessStates.RUNNING:
            process.look()
            if process.state == ProcessStates.RUNNING:
                return True  # its partner was quicker, as after "start all"
        with process.starting_now() if isinstance(process, RoleProcess) else nullcontext():
            return SupervisorNamespaceRPCInterface.startProcess(self, name, wait)

    def clearLog(self) -> Any:  # noqa: N802
        """Clear the main log in place: every reader that follows it, with whatever tool, goes on.

        @return boolean result always returns True unless error
        """
        self._update("clearLog")
        options = self.supervisord.options
        if not options.exists(options.logfile):
            raise RPCError(Faults.NO_FILE, options.logfile)
        try:
            logfiles.clear(options.logger)
        except OSError as error:
            raise RPCError(Faults.FAILED, f"cannot clear {options.logfile}: {error.strerror}") from None
        return True

    def getPluginVersion(self) -> str:  # noqa: N802
        """Return the version of snsnode that this supervisord has loaded: a reload does not change it

        @return string version
        """
        return __version__

    def reloadConfig(self) -> Any:  # noqa: N802
        """Reload the configuration, as "update" does before it stops and adds what changed.

        @return array result  [[added, changed, removed]]
        """
        getattr(self.supervisord, _PLUGIN).note_stopped()
        with lives.in_start_folder(self.supervisord.options):
            return SupervisorNamespaceRPCInterface.reloadConfig(self)


# system.listMethods looks at the class's own __dict__.
for _name, _member in list(vars(SupervisorNamespaceRPCInterface).items()):
    if not _name.startswith("_") and _name not in vars(RPCInterface):
        setattr(RPCInterface, _name, _member)


def make_rpcinterface(supervisord: Any, **options: str) -> RPCInterface:
    """Make the RPC interface; supervisord calls this once for each of its HTTP servers.

    ``options`` are the keys of the section: ``adopt`` holds NAME:PIDFILE lines.

    Raises:
        ValueError: an option is unknown or malformed; supervisord then refuses to start.
    """
    loaded = getattr(supervisord, _PLUGIN, None)
    # A reload makes new groups and clears all subscriptions: then everything is set up again.
    if loaded is None or loaded.groups is not supervisord.process_groups:
        try:
            plugin = Plugin(supervisord, options)
        except ValueError as error:
            _end_in_one_line(supervisord.options, str(error))
            raise
        setattr(supervisord, _PLUGIN, plugin)
        plugin.set_up()
    return RPCInterface(supervisord)


def _end_in_one_line(options: Any, cause: str) -> None:
    """Let supervisord end with ``cause`` and the exit code of bad configuration.

    What followed would be its own: a traceback, that it "could not make supervisor rpc interface", a hint at its
    usage, and exit code 2.
    """
    options.stderr.write(f"Error: {cause}\n")
    if not options.nodaemon:  # else the logger writes to the same terminal
        options.logger.critical(cause)
    options.logger.warn = lambda *_: None
    options.usage = lambda _: options.exit(EXIT_CONFIG)


class Plugin:
    """What the plug-in knows of one supervisord, from its start to its end or reload."""

    def __init__(self, supervisord: Any, options: dict[str, str]) -> None:
        self.groups = supervisord.process_groups
        self._supervisord = supervisord
        self._logger = supervisord.options.logger
        self._vm_dir = VmDir(Path(supervisord.options.here))
        # A supervisord of somebody else may well have a program called "master".
        self._is_ours = (self._vm_dir.path / FILENAME).exists()
        if self._is_ours:
            _refuse_strangers(self._vm_dir)
        self._adopted = _parse(options, self._vm_dir.path)
        self._stopped_before: set[RoleName] = set()
        self._resolve()  # an unclear name ends supervisord here, before it adopts anything
        ours = [name for name in self._adopted if self._is_ours and name.rpartition(":")[2] in ROLES]
        if ours:
            raise ValueError(f"cannot adopt {ours[0]!r} by a pid file: snsnode knows its process already")

    def set_up(self) -> None:
        """Take over what is there, and what will come."""
        lives.begin(self._supervisord)
        guarded(self._logger, "take the programs over", self._take_over)
        self._subscribe(events.ProcessGroupAddedEvent, self._added)
        self._subscribe(events.SupervisorRunningEvent, self._running)
        if self._is_ours:
            aside.listeners[:] = [Journal(self._vm_dir.journal, self._vm_dir.path.name, "supervisord").note_damage]
            guarded(self._logger, "put our Python on PATH", _put_python_on_path)
            # supervisord leaves the mask as it is: one started with SIGTERM blocked could not be ended.
            guarded(self._logger, "unblock the signals", unblock)
            guarded(self._logger, "let nobody else write", _narrow_umask)
            self._subscribe(events.SupervisorStoppingEvent, self._stopping)
        programs = self._programs()
        for name in sorted(name for name in self._adopted if foreign.program_of(name, programs) is None):
            self._logger.warn(f"snsnode: adopt names the program {name!r}, which is not configured")

    def note_stopped(self) -> None:
        """Remember which roles an operator has stopped by now."""
        if self._is_ours:
            self._stopped_before = {role for role in ROLES if intent.is_stopped(self._vm_dir, role)}

    def _subscribe(self, event_type: type, act: Callable[[Any], None]) -> None:
        def callback(event: Any) -> None:
            guarded(self._logger, f"handle {event_type.__name__}", lambda: act(event))

        events.subscribe(event_type, callback)

    def _programs(self) -> dict[tuple[str, str], Any]:
        """Return the process objects by (group, name): programs, and no event listeners or FastCGI pools."""
        return {
            (group, name): process
            for group, made in self.groups.items()
            for name, process in made.processes.items()
            if isinstance(process, Subprocess)
            and not isinstance(process, FastCGISubprocess)
            and not isinstance(process.config, EventListenerConfig)
        }

    def _resolve(self) -> dict[tuple[str, str], Path]:
        """Return the pid files by (group, name).

        Raises:
            ValueError: it is not clear which program a line means, or two lines mean one.
        """
        programs = self._programs()
        found: dict[tuple[str, str], Path] = {}
        for name, pid_file in self._adopted.items():
            program = foreign.program_of(name, programs)
            if program in found:
                raise ValueError(f"cannot adopt {name!r} twice: give it one pid file")
            if program is not None:
                found[program] = pid_file
        return found

    def _take_over(self) -> None:
        programs = self._programs()
        for (group, name), process in programs.items():  # ours first: they do not depend on what others added
            if type(process) is Subprocess and self._is_ours and name in ROLES and group == name:
                process.__class__ = RoleProcess
                process.vm_dir = self._vm_dir
                process.guard = PairGuard(self._vm_dir, self._logger)
                process.router_guard = RouterGuard(self._vm_dir, self._logger)
                process.sibling = self._program
        for program, pid_file in self._resolve().items():
            if type(programs[program]) is Subprocess:
                programs[program].__class__ = PidFileProcess
                programs[program].pid_file = pid_file

    def _program(self, name: str) -> Any:
        group = self.groups.get(name)
        return group.processes.get(name) if group is not None else None

    def _added(self, event: Any) -> None:
        guarded(self._logger, "take the programs over", self._take_over)
        process = self._program(event.group)
        if not isinstance(process, RoleProcess) or process.role in self._stopped_before:
            return
        # "supervisorctl update" has stopped what changed, which left an intent; to add it again is to start it.
        if process.role == "slave" and process.config.autostart:
            process.first_launch()  # it asks for the intent only when it is up
        intent.clear(self._vm_dir, process.role)

    def _running(self, _: Any) -> None:
        if self._is_ours:
            intent.clear_shutdown(self._vm_dir)
        # After daemonize(): the setting is not inherited over its fork. Orphans of the pair are reaped by us.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            self._logger.warn("snsnode: cannot become the subreaper; exit codes of adopted processes stay unknown")

    def _stopping(self, _: Any) -> None:
        try:
            intent.mark_shutdown(self._vm_dir)
        finally:
            spare = live_holder(self._vm_dir, "spare")
            if spare is not None:
                ending.ask(spare.identity)


def _refuse_strangers(vm_dir: VmDir) -> None:
    """Refuse a folder in which somebody else decides what runs, before any program of it does."""
    try:
        trust.check_vm(vm_dir.path)
    except ConfigError as error:
        raise ValueError(error.message) from None


def _parse(options: dict[str, str], here: Path) -> dict[str, Path]:
    unknown = sorted(set(options) - {"adopt"})
    if unknown:
        raise ValueError(f"cannot take the key {unknown[0]!r} of [rpcinterface:supervisor]: snsnode knows adopt")
    return foreign.parse(options.get("adopt", ""), here)


def _narrow_umask() -> None:
    # supervisord sets its own only where it daemonizes, and it has yet to write its pid file.
    os.umask(os.umask(0o077) | 0o022)


def _put_python_on_path() -> None:
    # Programs say "python": the one that runs supervisord, so that no path of this machine stands in the file.
    own = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != own:
        os.environ["PATH"] = own + os.pathsep + os.environ.get("PATH", "")
