"""gRPC does not survive a fork: its threads are gone in the child, and its locks and sockets are the parent's.

Called wherever a channel or a server is made, and by the client before it touches one. Without this a child that
calls hangs for ever, or dies of a segmentation fault.
"""

import gc
import os

from snsnode.base.errors import NotAllowed

_used_by: int | None = None  # the pid of the process that used gRPC first


def use(what: str) -> None:
    """Note that this process uses gRPC; ``what`` completes "cannot …".

    Raises:
        NotAllowed: it was forked from one that had used it.
    """
    global _used_by
    if _used_by is None:
        _used_by = os.getpid()
        # The collector of a child must not finalize what it inherited: that would call into gRPC.
        os.register_at_fork(after_in_child=gc.freeze)
    if is_inherited():
        raise NotAllowed(
            f"cannot {what}: this process was forked from process {_used_by} after that had used gRPC, which "
            "works in one of them only; make clients after the fork, or start processes with 'spawn'"
        )


def is_inherited() -> bool:
    """Tell whether every channel here belongs to a process that this one was forked from."""
    return _used_by is not None and _used_by != os.getpid()
