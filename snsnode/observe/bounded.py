"""No line may fill the log, however often a stranger brings it about.

A filter for a role's log. Each place in the code has ``LINES_MAX`` lines a minute, and a line that names its cause
(``extra={"cause": …}``) has one a minute for each cause, as what a library of others logs has. What is left out is
counted and told with the next such line, so that counts are right and what an operator needs is still there.
"""

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

PERIOD_S = 60.0
LINES_MAX = 60
CAUSES_MAX = 1_000  # remembered at once; then the one that was quiet longest is forgotten
FOREIGN = ("grpc", "asyncio", "concurrent")  # no lines of ours: one a minute, and no traceback


@dataclass(slots=True)
class _Seen:
    since_s: float
    lines: int = 0
    left_out: int = 0


class Bounded(logging.Filter):
    """Lets a line pass, or counts it."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: OrderedDict[tuple[str, int, str | None], _Seen] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether ``record`` is to be written; the first after some were left out tells how many."""
        foreign = record.name.partition(".")[0] in FOREIGN
        cause = getattr(record, "cause", None)
        most = 1 if foreign or cause is not None else LINES_MAX
        passes, left_out = self._passes((record.pathname, record.lineno, cause), most, time.monotonic())
        if passes and foreign and record.exc_info:
            record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r}", ()
            record.exc_info = record.exc_text = None
        if passes and left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more such lines were left out)", ()
        return passes

    def _passes(self, key: tuple[str, int, str | None], most: int, now_s: float) -> tuple[bool, int]:
        seen = self._seen.get(key)
        left_out = 0
        if seen is None or now_s - seen.since_s >= PERIOD_S:
            left_out = seen.left_out if seen is not None else 0
            seen = self._seen[key] = _Seen(now_s)
            self._seen.move_to_end(key)
            if len(self._seen) > CAUSES_MAX:
                self._seen.popitem(last=False)
        if seen.lines >= most:
            seen.left_out += 1
            return False, 0
        seen.lines += 1
        return True, left_out
