"""What we lack ourselves says nothing about anybody else.

A look at a process, a lock or a file takes a descriptor and memory. Without them the look tells nothing: we must
not conclude "dead", "free" or "absent", but raise, and the caller looks again later.
"""

import contextlib
import errno
import os

_LACKING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def is_shortage(error: BaseException) -> bool:
    """Tell whether ``error`` says that this process, or the machine, has no more descriptors or memory."""
    return isinstance(error, OSError) and error.errno in _LACKING


def lacks_descriptors() -> bool:
    """Tell whether we can open nothing now: then a call that failed says nothing about its target."""
    try:
        descriptor = os.open("/dev/null", os.O_RDONLY)
    except OSError as error:
        return is_shortage(error)
    with contextlib.suppress(OSError):
        os.close(descriptor)
    return False
