"""The watch for posts that other processes committed to the same SQLite file.

Called by ``sqlite_writer`` on its thread, between batches. It runs on the writer's own connection because
``PRAGMA data_version`` leaves out what the same connection committed.
"""

import time
from typing import cast

import apsw

from snsnode.store.sqlite_reads import last_post_id

# Measured on 2 cores: while somebody watches, 5 ms costs 1 to 3 % of a core, nearly all of it for waking up
# (bench/store.py), and another's post is heard of after 2.3 to 2.9 ms (p50), 4.6 to 5.8 ms (p99).
# On the day of 2.9 %, 2 ms cost 4.0 % and gave 1.3 ms; 10 ms cost 1.6 % and gave 3.0 ms.
PERIOD_S = 0.005


class CommitWatch:
    """Remembers the file's state when it last looked; the first look compares with the time of opening."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._version = self._data_version()
        self._newest = last_post_id(db)
        self._look_at_s = 0.0

    def found_posts(self) -> bool:
        """Tell whether others added posts since the last look; looks at most once in ``PERIOD_S``."""
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + PERIOD_S
        try:
            version = self._data_version()
            if version == self._version:
                return False
            # Something was committed: a lease renewed each second, or a post.
            newest = last_post_id(self._db)
        except apsw.Error:
            return False  # Locked or failing just now; the next look comes soon.
        self._version = version
        before, self._newest = self._newest, newest
        return newest > before

    def _data_version(self) -> int:
        ((version,),) = self._db.execute("PRAGMA data_version").fetchall()
        return cast(int, version)
