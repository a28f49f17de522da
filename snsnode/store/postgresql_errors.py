"""What PostgreSQL's and the driver's errors mean to a caller of the store; never raises anything itself.

Called by the sessions of the PostgreSQL engine. An error is named by its SQLSTATE (PostgreSQL's manual, appendix
A), since messages are in the server's language.
"""

import ssl
from enum import Enum, auto

import asyncpg

from snsnode.base.errors import ConfigError, Exhausted, Fenced, InvalidInput, SnsError, StoreFailed, Unavailable
from snsnode.store.statements import additions

# What the driver raises; the last one where a connection breaks while it is being used.
DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

FENCED = "SN001"  # ours: raised by sns_fence


class Kind(Enum):
    """What to do about an error of a command."""

    LOST = auto()  # the connection, or the server behind it, is no use any more; the outcome is unknown
    AGAIN = auto()  # the transaction was taken back for no fault of its own
    ROW = auto()  # one row is at fault
    FINAL = auto()  # nothing that a repeat could mend


_LOST_CLASSES = ("08", "57")  # connection exceptions; operator intervention: shutdown, crash, starting up
_LOST = ("25006", "53300")  # it has become a standby; too many connections
_AGAIN = ("40001", "40P01", "55P03")  # serialization failure, deadlock, lock not available
_ROW_CLASSES = ("21", "22", "23", "54")  # data, constraints, limits such as the size of an index's row
_PERMISSION = "42501"
POOLED = (
    "is a pooler that gives a connection to another client after each transaction or statement, which loses "
    "settings and notices; set pool_mode = session there, or name the database server itself"
)
_POOLED = ("26000", "42P05")  # a prepared statement is not there, or another client's is
_REFUSED = {  # a connection that no repeat opens
    "28P01": "refuses the password (or finds none); write it to the file that PGPASSFILE or ?passfile= names",
    "28000": "does not let this user in; create it, or allow it in pg_hba.conf",
    "3D000": "has no such database; create it",
}


def kind(error: Exception) -> Kind:
    """Return what a command's error means."""
    state = sqlstate(error)
    if not state:
        if isinstance(error, ValueError):
            return Kind.ROW  # the driver itself cannot send it
        # Of the driver: the connection broke, or it was closed by us.
        return Kind.LOST if isinstance(error, DRIVER_ERRORS) else Kind.FINAL
    if state.startswith(_LOST_CLASSES) or state in _LOST:
        return Kind.LOST
    if state in _AGAIN:
        return Kind.AGAIN
    return Kind.ROW if state.startswith(_ROW_CLASSES) else Kind.FINAL


def final_error(error: Exception, verb: str) -> SnsError:
    """Return what a command that failed raises; ``verb`` is "read" or "write to"."""
    state = sqlstate(error)
    if state.startswith("53"):
        return Exhausted(
            f"cannot {verb} the store: its server takes no more ({reason(error)}); free space there and try "
            "again; what is stored can be read"
        )
    if state == "25006":
        return Exhausted(f"cannot {verb} the store: it is read-only ({reason(error)})")
    if kind(error) in (Kind.LOST, Kind.AGAIN):
        return Unavailable(f"cannot {verb} the store: {reason(error)}; try again")
    return StoreFailed(f"cannot {verb} the store: {reason(error)}")


def row_error(error: Exception) -> InvalidInput:
    """Return what the one whose row is at fault gets."""
    return InvalidInput(f"cannot store this: {reason(error)}")


def fenced(error: Exception, vm: str, epoch: int) -> Fenced | None:
    """Return the error of a replaced incarnation, None where ``error`` is something else."""
    if sqlstate(error) != FENCED:
        return None
    newest = getattr(error, "detail", None)
    return Fenced(f"cannot write as epoch {epoch} of {vm}: epoch {newest} has replaced it; this process must end")


def connect_error(error: Exception, limit_s: float, *, by_network: bool) -> SnsError:
    """Return why a host cannot be used, as it continues the host's name."""
    # Over the network the only files are those of TLS; a missing socket is a server that does not run.
    wrong_file = by_network and isinstance(error, FileNotFoundError | PermissionError)
    state = sqlstate(error)
    if state in _REFUSED:
        return ConfigError(f"{_REFUSED[state]} ({reason(error)})")
    if state in _POOLED:
        return ConfigError(f"{POOLED} ({reason(error)})")
    if isinstance(error, TimeoutError):
        return Unavailable(f"does not answer within {limit_s:g} s")
    if wrong_file or isinstance(error, ssl.SSLError | asyncpg.ClientConfigurationError):
        return ConfigError(f"cannot be reached with the TLS options of the URL: {reason(error)}")
    return Unavailable(f"does not answer: {reason(error)}")


def schema_error(error: Exception, what: str) -> SnsError:
    """Return what opening the store raises where a migration fails; ``what`` names it."""
    if sqlstate(error) == _PERMISSION:
        return ConfigError(
            f"{what}: {reason(error)}; make the store's user the owner of the database, or grant it CREATE on the "
            "schema"
        )
    if sqlstate(error).startswith("53"):
        return Exhausted(f"{what}: its server takes no more ({reason(error)}); free space there")
    if kind(error) in (Kind.LOST, Kind.AGAIN):
        return Unavailable(f"{what}: {reason(error)}; try again")
    return StoreFailed(f"{what}: {reason(error)}")


def not_the_owner(what: str) -> ConfigError:
    """Return what opening the store ``what`` raises where this user may not add to a schema that is another's."""
    return ConfigError(
        f"cannot open {what}: its schema lacks what this version adds, and only the owner of its tables may add "
        f"it; as that user run: psql -1 -f {additions('postgresql')}, or make the store's user the owner"
    )


def sqlstate(error: Exception) -> str:
    """Return the SQLSTATE, "" for an error that is not the server's."""
    return str(getattr(error, "sqlstate", None) or "")


def reason(error: Exception) -> str:
    """Return the server's words, on one line, and the SQLSTATE, for people who look it up."""
    text = " ".join((str(error) or type(error).__name__).split())
    state = sqlstate(error)
    return f"{text}, {state}" if state else text
