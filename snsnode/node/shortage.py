"""What we lack ourselves is no word about anybody else.

To look at a process, a lock or a file takes a descriptor and memory. Where there is none, the look tells nothing
of what was looked at: whoever reads must not say "dead", "free" or "absent" then, but raise, and the caller looks
again later.
"""

import contextlib
import errno
import os

_LACKING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def is_shortage(error: BaseException) -> bool:
    """Tell whether ``error`` says that this process, or the machine, has no more descriptors or memory."""
    return isinstance(error, OSError) and error.errno in _LACKING


def lacks_descriptors() -> bool:
    """Tell whether we could open nothing now: a call that failed says nothing of whom it was to reach."""
    try:
        descriptor = os.open("/dev/null", os.O_RDONLY)
    except OSError as error:
        return is_shortage(error)
    with contextlib.suppress(OSError):
        os.close(descriptor)
    return False
