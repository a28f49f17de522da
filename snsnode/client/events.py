"""What a client tells a user interface about its connection; it acts on none of it."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The server was lost, or is in doubt, and the client turns to this one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Connected:
    """The client is logged in at this server."""

    host: str
    port: int


Event: TypeAlias = Reconnecting | Connected
