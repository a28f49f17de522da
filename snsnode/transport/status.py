"""Errors to gRPC statuses and back: one table, used by both ends.

A server sends the status, the message and, in the trailing metadata, the error's stable code; a client gets the
very class back. A bare ``grpc.RpcError`` never leaves this room.
"""

from collections.abc import Iterable

import grpc

from snsnode.base import errors

ERROR_KEY = "sns-error"

_STATUS: dict[type[errors.SnsError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyDone: grpc.StatusCode.ALREADY_EXISTS,
    errors.NotAllowed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Denied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Refused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SessionLost: grpc.StatusCode.UNAUTHENTICATED,
    errors.Fenced: grpc.StatusCode.ABORTED,
    errors.Full: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.StoreFailed: grpc.StatusCode.INTERNAL,
}
_BY_CODE = {cls.code: cls for cls in _STATUS}

# A status without our code comes from gRPC itself: a link that broke, a deadline, a foreign server.
_FOREIGN: dict[grpc.StatusCode, type[errors.SnsError]] = {
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.ABORTED: errors.Unavailable,
    grpc.StatusCode.UNKNOWN: errors.Unavailable,
    grpc.StatusCode.INTERNAL: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Full,  # of calls or of memory: gRPC knows no disk
    grpc.StatusCode.UNAUTHENTICATED: errors.SessionLost,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
}


def status_of(error: errors.SnsError) -> grpc.StatusCode:
    """Return the gRPC status that tells a caller how to act on ``error``."""
    for cls in type(error).__mro__:
        if cls in _STATUS:
            return _STATUS[cls]
    return grpc.StatusCode.INTERNAL


def error_of(code: str, message: str) -> errors.SnsError:
    """Return the error with the stable ``code``; an unknown code gives the root of the tree."""
    return _BY_CODE.get(code, errors.SnsError)(message)


def from_rpc(error: grpc.aio.AioRpcError) -> errors.SnsError:
    """Return our error for what a call raised."""
    code = _metadata_code(error.trailing_metadata())
    details = error.details() or error.code().name
    if code in _BY_CODE:
        return _BY_CODE[code](details)
    return _FOREIGN.get(error.code(), errors.SnsError)(details)


def _metadata_code(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    for key, value in metadata or ():
        if key == ERROR_KEY:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return None
