"""The files that a command line names: which of them a command may write, and whether two names are of one file.

Called by ``backup``, ``store_copy`` and ``generate``.
"""

import contextlib
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder; name a file in it",
    stat.S_IFCHR: "a device; name a file",
    stat.S_IFBLK: "a device; name a file",
    stat.S_IFIFO: "a named pipe; name a file",
    stat.S_IFSOCK: "a socket; name a file",
}


def is_same_file(one: Path, other: Path) -> bool:
    """Tell whether both names are of one file, also through a link, and also where it does not exist yet."""
    if os.path.realpath(one) == os.path.realpath(other):  # not resolve(): a loop of links is no error of theirs
        return True
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def why_not_writable(path: Path) -> str:
    """Say what else than a regular file is at ``path``, also behind a link; "" where it is one, or nothing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "a link that leads nowhere; remove it, or name another file" if path.is_symlink() else ""
    return _KINDS.get(stat.S_IFMT(mode), "" if stat.S_ISREG(mode) else "no regular file; name one")
