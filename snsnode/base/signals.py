"""What a process does about signals as it begins, and how a program that started a cluster ends by one.

Standard library only: a role calls this first. A signal mask, and signals that are ignored, pass to a child
through fork and exec: the process that starts us may have blocked SIGTERM, or ignore SIGCHLD, for its own reasons.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A child ignores what its parent ignored: we would take no SIGTERM, and lose our children's exit codes (SIGCHLD).
_RESET = (signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)


def start_clean() -> None:
    """Take every signal again, as a process of its own does: nothing blocked, what matters not ignored.

    Called from the main thread, before other threads start: they inherit the mask. SIGINT and SIGHUP stay ignored
    where they are, as a shell's background jobs and nohup want it.
    """
    for number in _RESET:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    unblock()


def unblock() -> None:
    """Block no signal; dispositions stay as they are."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Make SIGTERM, SIGINT and SIGHUP raise SystemExit in the block, once, so that its ``finally`` clauses run.

    Further ones are not heeded while they do: ``timeout`` signals twice, and what was started must be ended. Does
    nothing outside the main thread, where Python takes no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    start_clean()

    def ended(number: int, _: FrameType | None) -> NoReturn:
        for each in ENDING:
            signal.signal(each, lambda *_: None)  # not SIG_IGN: what ends the cluster would inherit that
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, ended) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
