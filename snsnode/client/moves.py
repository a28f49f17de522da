"""What happens to a client's connection, and what it does: the words of the retry machine. Pure values."""

from dataclasses import dataclass
from typing import TypeAlias

from snsnode.base.errors import SnsError


@dataclass(frozen=True, slots=True)
class Server:
    """One incarnation of a server, as a router named it."""

    vm: str
    host: str
    port: int
    epoch: int

    @property
    def target(self) -> str:
        """``host:port``, the host in brackets where it is an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# --- what happened ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call needs a link."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The router with this index named a server."""

    router: int
    server: Server


@dataclass(frozen=True, slots=True)
class AskFailed:
    """The router did not answer, or knows no server."""

    router: int
    why: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server that we were entering took us."""

    server: Server


@dataclass(frozen=True, slots=True)
class EnterFailed:
    """The server that we were entering did not take us."""

    server: Server
    error: SnsError


@dataclass(frozen=True, slots=True)
class Lost:
    """The link in use broke, or its server does not know our login."""

    error: SnsError


@dataclass(frozen=True, slots=True)
class Slow:
    """A call over the link in use takes long."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """The server in use says that it leaves; it serves on until its clients have moved."""


@dataclass(frozen=True, slots=True)
class Staying:
    """The server in use stays after all."""


@dataclass(frozen=True, slots=True)
class Queued:
    """The last ``Ask`` or ``Enter`` waits for its turn among the clients of this process: nobody is slow yet."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What was ``Queued`` has its turn: from now on it may be slow."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time of the last ``Wake`` has come."""


Happened: TypeAlias = (
    Wanted
    | Answered
    | AskFailed
    | LoggedIn
    | EnterFailed
    | Lost
    | Slow
    | Leaving
    | Staying
    | Queued
    | Begun
    | Tick
)


# --- what to do ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this router for a server, reporting the one that could not be reached, and those that had no room."""

    router: int
    unreachable: Server | None
    full: tuple[Server, ...] = ()


@dataclass(frozen=True, slots=True)
class StopAsking:
    """Forget the routers' pending answers."""


@dataclass(frozen=True, slots=True)
class Enter:
    """Open a new channel to this server and log in; it replaces a login under way."""

    server: Server
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Use:
    """The server just entered is the one in use.

    The link before it is closed; ``gently``: once its calls are answered, for its server still serves.
    """

    server: Server
    gently: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """The link in use takes no new calls."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell everybody who waits for a link that there will be none."""

    error: SnsError


@dataclass(frozen=True, slots=True)
class Wake:
    """Send ``Tick`` at this time; it replaces an earlier ``Wake``."""

    at: float


Action: TypeAlias = Ask | StopAsking | Enter | Use | Drop | Refuse | Wake
