"""A role's own log: opened by the role itself, so that it outlives whoever started the process.

supervisord closes the read end of a child's output when it reaps the child; a process that inherited such a
pipe dies of its next line. So every role appends to its file, and ``stdout_logfile`` names the same file for
``supervisorctl tail``.
"""

import logging
import sys
import time
from pathlib import Path
from typing import Any

from snsnode.base import aside
from snsnode.base.harmless import harmless
from snsnode.observe.bounded import Bounded
from snsnode.observe.shared_log import SharedLog

LOG_BYTES_MAX = 10 * 1024 * 1024
LOGS_KEPT = 3


def to_file(path: Path, role: str, vm: str) -> None:
    """Send this process's logging to ``path``, appending; rotated at 10 MiB, three old ones kept.

    A full disk loses lines, never the process.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    logging.raiseExceptions = False
    aside.clear_way(path)
    handler = SharedLog(path, LOG_BYTES_MAX, LOGS_KEPT)
    handler.addFilter(Bounded())
    _install(handler, role, vm)


def to_stderr(role: str) -> None:
    """Send warnings and worse to stderr, for the command line."""
    _install(logging.StreamHandler(sys.stderr), role, "-")
    logging.getLogger().setLevel(logging.WARNING)


def _install(handler: logging.Handler, role: str, vm: str) -> None:
    formatter = _Formatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s {role} {vm} [%(process)d] %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


class _Formatter(logging.Formatter):
    """Makes one line of each message: some of it may be another's words, and people read logs on terminals."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return harmless(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return harmless(super().formatException(ei), keep="\n\t")
