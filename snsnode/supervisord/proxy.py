"""Our line to a VM's supervisord: XML-RPC over its Unix socket, every call bounded in time.

Used by ``control``. supervisor's own client transport has no timeouts; a frozen supervisord would freeze us.
"""

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers.expat import ExpatError

from snsnode.base.errors import SnsError, Unavailable

# supervisor.xmlrpc.Faults
UNKNOWN_METHOD = 1
SHUTDOWN_STATE = 6
BAD_NAME = 10
ABNORMAL_TERMINATION = 40
SPAWN_ERROR = 50
ALREADY_STARTED = 60
NOT_RUNNING = 70
CANT_REREAD = 92
_IN_WORDS = {
    SHUTDOWN_STATE: "supervisord is shutting down",
    BAD_NAME: "its supervisord knows no such program; run 'snsctl generate', then 'snsctl start'",
    20: "the command of its program does not exist",  # NO_FILE
    21: "the command of its program cannot be executed",  # NOT_EXECUTABLE
    30: "supervisord could not do it",  # FAILED
    ABNORMAL_TERMINATION: "it ended at once",
    SPAWN_ERROR: "supervisord could not launch it",
    ALREADY_STARTED: "it runs already",
    NOT_RUNNING: "it does not run",
    90: "supervisord has it already",  # ALREADY_ADDED
    91: "its processes still run",  # STILL_RUNNING
    CANT_REREAD: "supervisord cannot read its configuration any more",
}


class Program(NamedTuple):
    """A program as supervisord sees it; ``pid`` is None without a process."""

    name: str
    state: str
    pid: int | None
    uptime_s: float
    description: str


class SupervisorFault(SnsError):
    """supervisord answered no; ``fault`` is its number."""

    code = "supervisor"

    def __init__(self, message: str, fault: int) -> None:
        super().__init__(message)
        self.fault = fault


class Supervisor:
    """One VM's supervisord."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def call(self, method: str, *arguments: Any, timeout_s: float = 5.0) -> Any:
        """Call ``supervisor.METHOD``.

        Raises:
            SupervisorFault: it refused.
            Unavailable: it is not there, or does not answer within ``timeout_s``.
        """
        proxy = xmlrpc.client.ServerProxy(
            "http://localhost", transport=_UnixTransport(str(self._path), timeout_s), allow_none=True
        )
        try:
            with proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise SupervisorFault(_in_words(fault), int(fault.faultCode)) from None
        except TimeoutError:
            raise Unavailable(f"supervisord at {self._path} does not answer within {timeout_s:g} s") from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise Unavailable(f"supervisord at {self._path} does not answer: {error}") from None

    def is_running(self, timeout_s: float = 2.0) -> bool:
        """Tell whether it answers and is not shutting down."""
        try:
            return bool(self.call("getState", timeout_s=timeout_s)["statename"] == "RUNNING")
        except SnsError:
            return False

    def plugin_version(self, timeout_s: float = 5.0) -> str:
        """Return the snsnode that supervisord has loaded, "" for 0.1.0, which tells none; raises as ``call``."""
        try:
            return str(self.call("getPluginVersion", timeout_s=timeout_s))
        except SupervisorFault as fault:
            if fault.fault == UNKNOWN_METHOD:
                return ""
            raise

    def programs(self, timeout_s: float = 5.0) -> dict[str, Program]:
        """Return all programs by name; raises as ``call``."""
        infos = self.call("getAllProcessInfo", timeout_s=timeout_s)
        return {
            info["name"]: Program(
                info["name"],
                info["statename"],
                info["pid"] or None,
                max(info["now"] - info["start"], 0) if info["pid"] else 0.0,
                info["description"],
            )
            for info in infos
        }


def _in_words(fault: xmlrpc.client.Fault) -> str:
    """Return what supervisord's refusal means; its own names for it are for programs."""
    said = str(fault.faultString)
    words = _IN_WORDS.get(int(fault.faultCode))
    if words is None:
        return said
    detail = said.partition(": ")[2]
    # Behind a name such as "SPAWN_ERROR" stands the program, which the caller names anyhow, or the cause.
    cause = detail if " " in detail else ""
    return f"{words}: {cause}" if cause else words


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_s = timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path, self._timeout_s)
        self._connection = host, connection  # what close() closes
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
