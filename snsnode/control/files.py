"""Whether two names are of one file: ``backup`` and ``store_copy`` must not write what they read."""

import contextlib
from pathlib import Path


def is_same_file(one: Path, other: Path) -> bool:
    """Tell whether both names are of one file, also through a link, and also where it does not exist yet."""
    if one.resolve() == other.resolve():
        return True
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False
