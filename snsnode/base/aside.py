"""Puts a damaged file away, so that its owner can write a new one and people can look at the old.

Called by the file's owner alone: a process that only reads may have caught the writer half-way. ``listeners`` hear
of each file. Through them roles, ``snsctl`` and supervisord's plug-in write the journal, which this room does not
know.
"""

import contextlib
import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from snsnode.base.reading import kind_of

log = logging.getLogger(__name__)

KEPT_MAX = 5  # damaged files of one name
TELL_EVERY_S = 60.0  # of one path: what is damaged again and again must not fill the log

Listener = Callable[[Path, Path, str], None]

listeners: list[Listener] = []  # each is called with the path, where it went, and the cause

_told_s: dict[Path, float] = {}  # when a path was last spoken of; monotonic


def set_aside(path: Path, cause: str) -> Path | None:
    """Rename ``path`` to ``NAME.damaged-N``, and tell the listeners and the log; None where that cannot be done.

    At most ``KEPT_MAX`` are kept, the newest in the place of the oldest. Only the file's owner may call this: a
    reader may have caught its writer half-way.
    """
    try:
        place = _place(path)
        path.rename(place)
    except FileNotFoundError:
        return None  # somebody else was faster
    except OSError as error:
        if _is_news(path):
            log.error("cannot set the damaged %s aside: %s", path, error.strerror)
        return None
    if _is_news(path):
        log.error("set %s aside as %s: %s", path, place.name, cause)
        for listener in listeners:
            listener(path, place, cause)
    return place


def clear_way(path: Path) -> None:
    """Set aside what stands at ``path`` and would make a writer fail or wait: a folder, a pipe, a socket.

    A device is left alone: somebody may have linked a log to /dev/null.
    """
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            try:
                mode = path.stat().st_mode
            except FileNotFoundError:
                return  # it is made where the link points to
            except OSError:
                pass  # a loop of links: the link itself is in the way
        if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
            set_aside(path, f"it is {kind_of(mode)}")


def damaged_files(folder: Path, name: str = "") -> list[Path]:
    """Return what was set aside in ``folder``, of any name or of one."""
    try:
        return sorted(path for path in folder.iterdir() if f"{name}.damaged-" in path.name)
    except OSError:
        return []


def _place(path: Path) -> Path:
    places = [path.with_name(f"{path.name}.damaged-{number}") for number in range(1, KEPT_MAX + 1)]
    free = next((place for place in places if not os.path.lexists(place)), None)
    return free or min(places, key=lambda place: place.lstat().st_mtime)


def _is_news(path: Path) -> bool:
    """Tell whether to speak of ``path`` now: what is damaged again and again must not fill the log."""
    now_s = time.monotonic()
    last_s = _told_s.get(path)
    if last_s is not None and now_s - last_s < TELL_EVERY_S:
        return False
    if len(_told_s) > 1000:
        _told_s.clear()
    _told_s[path] = now_s
    return True
