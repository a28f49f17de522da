"""The one tree of errors.

Raised by every room; turned into an exit code by ``cli`` and into a gRPC status by ``transport``. A class
exists only where a caller acts differently on it. Messages read "cannot VERB OBJECT: CAUSE", with the value
and the fix, because they are shown to people as they stand.
"""

from typing import ClassVar

EXIT_NOT_SO = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: the configuration must be edited before a retry can help.


class SnsError(Exception):
    """Root of the tree.

    ``code`` is stable and travels over gRPC; ``exit_code`` is what ``snsctl`` or a role ends with.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = EXIT_NOT_SO

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0]) if self.args else self.code


class UsageError(SnsError):
    """The command line is wrong; exit 2."""

    code = "usage"
    exit_code = EXIT_USAGE


class ConfigError(SnsError):
    """A spec or a generated file is wrong; exit 78. Retrying cannot help before somebody edits it."""

    code = "config"
    exit_code = EXIT_CONFIG


class Held(SnsError):
    """Another live process holds the role's lock or its port."""

    code = "held"


# --- what a server refuses: the request itself is wrong, and repeating it cannot help -----------------------


class Refused(SnsError):
    """The request was understood and refused; a client must not retry it."""

    code = "refused"


class InvalidInput(Refused):
    """A name, a text or a field is malformed."""

    code = "invalid"


class NotFound(Refused):
    """The user that the request names does not exist."""

    code = "not-found"


class AlreadyDone(Refused):
    """What is asked for is so already: following twice, a name logged in elsewhere, a reused request id."""

    code = "already"


class NotAllowed(Refused):
    """The state forbids it: following oneself, unfollowing whom one does not follow."""

    code = "not-allowed"


class Denied(Refused):
    """The caller is not one who may ask this: no attempt of its own can change that."""

    code = "denied"


# --- what passes: the same request may succeed later or elsewhere -------------------------------------------


class Unavailable(SnsError):
    """Nobody serves this now; ask a router and try again."""

    code = "unavailable"


class Full(Unavailable):
    """This server has no room for one more; another may have. It is no fault of the server's: it serves others."""

    code = "full"


class SessionLost(SnsError):
    """The server does not know this login; log in again with the same client id and retry."""

    code = "session-lost"


class Fenced(SnsError):
    """This incarnation of the server was replaced: its epoch is below the known one. It must exit."""

    code = "fenced"


class Exhausted(SnsError):
    """No room: the disk is full or read-only, or a login has used up its own bounds. Reads may go on."""

    code = "exhausted"


class DeadlineExceeded(SnsError):
    """The deadline passed; whether the call took effect is unknown unless it carried a request id."""

    code = "deadline"


class StoreFailed(SnsError):
    """The store broke in a way that is nobody's request: corruption, a newer schema, an I/O error."""

    code = "store"
