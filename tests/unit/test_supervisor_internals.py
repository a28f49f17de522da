"""Every internal of supervisor that the plug-in leans on, by name: an upgrade that changes one fails here.

None of this is a public API. Where a test fails after an upgrade, read the new source, mend
``snsnode/supervisord`` and this list, and only then widen the bound in ``setup.cfg``.
"""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import supervisor.supervisord
import supervisor.xmlrpc
from supervisor import dispatchers, events, http, options, process, rpcinterface, states, web

from snsnode.supervisord import proxy
from snsnode.supervisord.adoption import Adopting
from snsnode.supervisord.bell import Bell
from snsnode.supervisord.foreign import PidFileProcess
from snsnode.supervisord.plugin import RPCInterface
from snsnode.supervisord.roles import RoleProcess

_Interface = rpcinterface.SupervisorNamespaceRPCInterface
_Supervisor = supervisor.supervisord.Supervisor

SIGNATURES: list[tuple[Any, str, str]] = [
    # What we override, and what we call in its stead.
    (process.Subprocess, "get_state", "(self)"),
    (process.Subprocess, "transition", "(self)"),
    (process.Subprocess, "spawn", "(self)"),
    (process.Subprocess, "kill", "(self, sig)"),
    (process.Subprocess, "signal", "(self, sig)"),
    (process.Subprocess, "removelogs", "(self)"),
    (process.Subprocess, "write", "(self, chars)"),
    (process.Subprocess, "finish", "(self, pid, sts)"),
    (process.Subprocess, "_check_and_adjust_for_system_clock_rollback", "(self, test_time)"),
    # What we call.
    (process.Subprocess, "stop", "(self)"),
    (process.Subprocess, "change_state", "(self, new_state, expected=True)"),
    (process.Subprocess, "record_spawnerr", "(self, msg)"),
    (options.ServerOptions, "close_parent_pipes", "(self, pipes)"),
    (options.ServerOptions, "usage", "(self, msg)"),
    (options, "decode_wait_status", "(sts)"),
    (dispatchers.PDispatcher, "__init__", "(self, process, channel, fd)"),
    (dispatchers.PDispatcher, "close", "(self)"),
    (events, "subscribe", "(type, callback)"),
    (_Interface, "__init__", "(self, supervisord)"),
    (_Interface, "_update", "(self, text)"),
    (_Interface, "_getGroupAndProcess", "(self, name)"),
    (_Interface, "getProcessInfo", "(self, name)"),
    (_Interface, "startProcess", "(self, name, wait=True)"),
    (_Interface, "reloadConfig", "(self)"),
    (_Interface, "clearLog", "(self)"),
    # What proxy calls over XML-RPC.
    (_Interface, "getAllProcessInfo", "(self)"),
    (_Interface, "getState", "(self)"),
    (_Interface, "getPID", "(self)"),
    (_Interface, "stopProcess", "(self, name, wait=True)"),
    (_Interface, "stopProcessGroup", "(self, name, wait=True)"),
    (_Interface, "addProcessGroup", "(self, name)"),
    (_Interface, "removeProcessGroup", "(self, name)"),
    # What calls us.
    (http, "make_http_servers", "(options, supervisord)"),
    (options.ServerOptions, "close_httpservers", "(self)"),
    (options.ServerOptions, "get_socket_map", "(self)"),
    (_Supervisor, "reap", "(self, once=False, recursionguard=0)"),
    (process.ProcessGroupBase, "get_dispatchers", "(self)"),
]

# The attributes of a process that we read or write, with what supervisor's class begins with.
PROCESS_ATTRIBUTES: dict[str, object] = {
    "pid": 0,
    "config": None,
    "laststart": 0,
    "laststop": 0,
    "delay": 0,
    "killing": False,
    "backoff": 0,
    "dispatchers": None,
    "pipes": None,
    "exitstatus": None,
    "spawnerr": None,
}

# Lines of supervisor that the plug-in's reasoning stands on, and why.
LINES: list[tuple[Callable[..., Any], str, str]] = [
    (_Supervisor.run, "events.clear()", "a reload clears our subscriptions, and we subscribe anew"),
    (_Supervisor.run, "self.process_groups = {}", "a reload makes a new dict, by which we notice it"),
    (_Supervisor.runforever, "group.transition()", "adoption happens on every turn"),
    (_Supervisor.runforever, "self.get_process_map()", "bells are polled"),
    (_Supervisor.runforever, "timeout = 1", "the main loop turns at least once a second"),
    (_Supervisor.reap, "process.finish(pid, sts)", "an adopted orphan's end reaches finish()"),
    (_Supervisor.reap, "del self.options.pidhistory[pid]", "finish() must leave the entry to reap()"),
    (_Supervisor.main, "if not self.options.first:", "a life after the first closes descriptors by number"),
    (options.ServerOptions.cleanup_fds, "os.closerange(start", "whoever owns one of them"),
    (
        supervisor.supervisord.main,
        "options.close_httpservers()",
        "each life ends by it, through its options object",
    ),
    (supervisor.supervisord.main, "options.realize(args, ", "each life reads the command line again"),
    (options.Options.realize, "args = sys.argv[1:]", "and finds it there"),
    (options.Options.realize, "name, handler = self.options_map[opt]", "a flag's name tells which are paths"),
    (_Supervisor.run, "self.options.first:\n                self.options.daemonize()", "changes the folder once"),
    (_Supervisor.remove_process_group, "get_unstopped_processes", "nothing adopted is removed"),
    (http.make_http_servers, "inst = factory(supervisord, **d)", "the keys of the section are our options"),
    (process.Subprocess.transition, "self.kill(signal.SIGKILL)", "an overdue stop comes back as kill()"),
    (process.Subprocess.transition, "not self.laststart", "autostart is for programs that never ran"),
    (process.Subprocess.spawn, "ProcessStates.BACKOFF, ProcessStates.STOPPED", "spawn() may follow BACKOFF"),
    (_Interface.startProcess, "process.get_state() in RUNNING_STATES", "a start looks by get_state()"),
    (_Interface.startProcess, "process.spawn()", "a start forks by spawn(), at once"),
    (_Interface.stopProcess, "process.get_state() not in RUNNING_STATES", "a stop looks by get_state()"),
    (_Interface.clearProcessLogs, "process.removelogs()", "logs are cleared by the process object"),
    (web.StatusView.make_callback, "rpcinterface.supervisor.clearProcessLogs(", "by the web page as well"),
    (rpcinterface.isRunning, "process.get_state()", "stop all looks by get_state()"),
    (web.StatusView.actions_for_process, "process.get_state()", "the web page looks by get_state()"),
    (web.StatusView.make_callback, "SupervisorNamespaceRPCInterface(supervisord)", "and bypasses our interface"),
]


@pytest.mark.parametrize(("owner", "name", "signature"), SIGNATURES, ids=lambda value: str(value)[-40:])
def test_function_has_the_signature_that_we_rely_on(owner: Any, name: str, signature: str) -> None:
    found = getattr(owner, name, None)
    assert found is not None, f"supervisor has no {owner.__name__}.{name} any more"
    now = str(inspect.signature(found))
    assert now == signature, f"supervisor's {owner.__name__}.{name} takes {now}, we rely on {signature}"


@pytest.mark.parametrize(("name", "value"), PROCESS_ATTRIBUTES.items())
def test_process_has_the_attribute_that_we_rely_on(name: str, value: object) -> None:
    assert name in vars(process.Subprocess), f"supervisor's Subprocess has no {name} any more"
    assert getattr(process.Subprocess, name) == value


@pytest.mark.parametrize(("function", "line", "why"), LINES, ids=lambda value: getattr(value, "__name__", "")[:30])
def test_supervisor_still_does_what_we_rely_on(function: Callable[..., Any], line: str, why: str) -> None:
    source = inspect.getsource(function)
    assert line in source, f"supervisor's {function.__qualname__} has no {line!r} any more; we rely on it: {why}"


def test_states_have_their_numbers() -> None:
    expected = {
        "STOPPED": 0,
        "STARTING": 10,
        "RUNNING": 20,
        "BACKOFF": 30,
        "STOPPING": 40,
        "EXITED": 100,
        "FATAL": 200,
        "UNKNOWN": 1000,
    }
    found = {name: value for name, value in vars(states.ProcessStates).items() if name.isupper()}
    assert found == expected
    assert set(states.STOPPED_STATES) == {0, 100, 200, 1000}
    assert set(states.RUNNING_STATES) == {10, 20, 30}
    moods = {name: value for name, value in vars(states.SupervisorStates).items() if name.isupper()}
    assert moods == {"FATAL": 2, "RUNNING": 1, "RESTARTING": 0, "SHUTDOWN": -1}


def test_faults_have_the_numbers_that_our_proxy_gives_them() -> None:
    for name in ("BAD_NAME", "ABNORMAL_TERMINATION", "SPAWN_ERROR", "ALREADY_STARTED", "NOT_RUNNING"):
        assert getattr(supervisor.xmlrpc.Faults, name) == getattr(proxy, name), name


def test_events_that_we_subscribe_to_exist_and_are_told() -> None:
    for name, teller in (
        ("ProcessGroupAddedEvent", _Supervisor.add_process_group),
        ("SupervisorRunningEvent", _Supervisor.runforever),
        ("SupervisorStoppingEvent", _Supervisor.runforever),
    ):
        assert issubclass(getattr(events, name), events.Event)
        assert f"events.{name}(" in inspect.getsource(teller)
    assert events.ProcessGroupAddedEvent("a").group == "a"


def test_options_and_supervisor_have_what_we_read() -> None:
    read = options.ServerOptions()
    assert read.pidhistory == {}
    assert hasattr(read, "stderr")
    assert {"configfile", "directory", "logfile", "pidfile", "childlogdir"} <= set(dir(read))
    assert "self.here = " in inspect.getsource(options.Options)
    assert "mood" in inspect.getsource(options.ServerOptions)
    made = _Supervisor(read)
    assert made.options is read and made.process_groups == {}
    config = {"name", "startsecs", "startretries", "stopwaitsecs", "exitcodes", "autostart"}
    assert config <= {*options.ProcessConfig.req_param_names, *options.ProcessConfig.optional_param_names}


def test_our_classes_can_take_the_place_of_supervisors_own() -> None:
    # Assigning __class__ needs the same layout: neither side may have __slots__.
    for mine in (Adopting, PidFileProcess, RoleProcess):
        assert issubclass(mine, process.Subprocess)
        made = process.Subprocess(None)
        made.__class__ = mine
    assert issubclass(Bell, dispatchers.PDispatcher)
    assert not any("__slots__" in vars(owner) for owner in Adopting.__mro__[:-1])


def test_this_list_names_everything_that_the_plugin_uses() -> None:
    source = "".join(path.read_text() for path in Path(proxy.__file__).parent.glob("*.py"))
    signals = {"stopsignal", "stopasgroup", "killasgroup", "stdout_logfile", "stderr_logfile"}
    lives = {"first", "nodaemon", "directory", "configfile", "close_httpservers", "get_socket_map"}
    lives |= {"short_options", "long_options", "options", "options_map", "logfile", "exists", "usage", "exit"}
    for owner, known in (
        ("Subprocess", {name for made, name, _ in SIGNATURES if made is process.Subprocess}),
        ("SupervisorNamespaceRPCInterface", {name for made, name, _ in SIGNATURES if made is _Interface}),
        ("PDispatcher", {"close"}),
        ("events", {"subscribe", "ProcessGroupAddedEvent", "SupervisorRunningEvent", "SupervisorStoppingEvent"}),
        ("options", {"logger", "mood", "pidhistory", "close_parent_pipes", "here", "stderr", "get"} | lives),
        (
            "config",
            {"options", "name", "startsecs", "stopwaitsecs", "exitcodes", "autostart"} | {"load"} | signals,
        ),
    ):
        used = set(re.findall(rf"\b{owner}\.(\w+)", source))
        assert used <= known, f"the plug-in uses more of supervisor's {owner} than this test names"


def test_interface_lists_all_methods_as_its_own() -> None:
    stock = {name for name in vars(_Interface) if not name.startswith("_")}
    assert stock <= set(vars(RPCInterface))
    # system.methodHelp parses these.
    for name in ("getProcessInfo", "startProcess", "reloadConfig", "clearLog"):
        assert "@return" in str(getattr(RPCInterface, name).__doc__)
