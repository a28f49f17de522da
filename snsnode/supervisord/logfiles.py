"""Clearing logs in place: a program of ours writes into its log by itself, and would go on in a lost file.

supervisord clears a log by removing the file and opening a new one, which is right where it is the only writer.
"""

import os
import stat
from typing import Any


def truncate(path: str) -> bool:
    """Empty the regular file at ``path``; False where there is none. Pipes and terminals are left alone.

    Raises:
        OSError: it may not be written; or root was shown a symbolic link, behind which anything may be.
    """
    nofollow = os.O_NOFOLLOW if os.geteuid() == 0 else 0
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | nofollow)
    except FileNotFoundError:
        return False
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, 0)
        return True
    finally:
        os.close(descriptor)


def clear(logger: Any) -> None:
    """Empty the files of one of supervisord's loggers (None: it has none), which goes on writing into them."""
    for handler in logger.handlers if logger is not None else ():
        path = getattr(handler, "baseFilename", None)
        if path is None:
            if hasattr(handler, "remove"):  # it keeps its lines in memory; syslog keeps none
                handler.remove()
        elif not truncate(path) or not _is_at(handler.stream, path):
            handler.reopen()


def _is_at(stream: Any, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))  # noqa: PTH116
    except (OSError, ValueError):
        return False
