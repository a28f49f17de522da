"""The answer to ``snsctl status``: what ``--json`` prints, so keys are added here, never changed or removed."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Process:
    """One role's process; ``state`` is supervisor's word, UNKNOWN where nobody could be asked."""

    pid: int | None = None
    state: str = "UNKNOWN"
    uptime_s: float | None = None
    restarts: int = 0
    note: str = ""  # what supervisor's word cannot say: frozen, stopped on purpose, paused
    version: str = ""  # of the snsnode that it runs; "" without a process


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """One router: ``state`` is UP or DOWN; what it says of servers is None where it is silent."""

    vm: str
    address: str
    state: str
    process: Process = field(default_factory=Process)
    available: str | None = None  # whom it gives to clients
    servers: dict[str, str] | None = None  # each server's state


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server: its state to clients, and its two processes."""

    vm: str
    address: str
    state: str
    epoch: int
    clients: int
    paused: bool
    degraded: bool
    master: Process
    slave: Process
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """The whole answer."""

    cluster: str
    available: str | None
    routers: list[RouterStatus]
    servers: list[ServerStatus]
    notes: list[str]
    routers_agree: bool = True

    @property
    def is_well(self) -> bool:
        """One server of the cluster is available and none of those shown is down."""
        return self.available is not None and all(server.state != "DOWN" for server in self.servers)

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return asdict(self)
