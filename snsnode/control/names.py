"""Where the host names of a spec lead: asked all at once, each once in a command's life, bounded in time.

A name service that is silent makes ``getaddrinfo`` wait for half a minute, each time. Threads of our own ask it.
A command does not wait for them at its end, and a caller that still waits after ``WITHIN_S`` gets no answer.
"""

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Iterable
from queue import SimpleQueue
from typing import Any

WITHIN_S = 2.0
ANEW_S = 5.0  # a failure is believed for so long: "status --watch" runs for hours
THREADS_MAX = 64


class _LookUp:
    """One name's question, and its answer as it comes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked_s = time.monotonic()
        self.answered = threading.Event()
        self.infos: list[Any] = []
        self.error: OSError | None = None

    def ask(self) -> None:
        try:
            self.infos = socket.getaddrinfo(self.name, 0, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # an unusable label is a UnicodeError
            self.error = error if isinstance(error, OSError) else OSError(str(error))
        self.answered.set()

    @property
    def is_stale(self) -> bool:
        return self.error is not None and time.monotonic() > self.asked_s + ANEW_S


_lock = threading.Lock()
_known: dict[str, _LookUp] = {}
_questions: SimpleQueue[_LookUp] = SimpleQueue()
_threads: list[threading.Thread] = []


def prepare(names: Iterable[str]) -> None:
    """Begin to look up every name that nobody asked for yet; waits for nothing."""
    for name in dict.fromkeys(names):
        _asked(name)


def look_up(name: str) -> list[Any]:
    """Return what ``getaddrinfo`` says of ``name``, ``WITHIN_S`` after it was first asked at the latest.

    Raises:
        OSError: it has no address, or the name service is silent (TimeoutError).
    """
    asked = _asked(name)
    if not asked.answered.wait(max(0.0, asked.asked_s + WITHIN_S - time.monotonic())):
        raise TimeoutError(f"the name service does not answer within {WITHIN_S:g} s")
    if asked.error is not None:
        raise asked.error
    return asked.infos


def is_answered(name: str, within_s: float = 0.0) -> bool:
    """Tell whether ``look_up`` would answer at once, or within a while."""
    return _asked(name).answered.wait(within_s)


def _asked(name: str) -> _LookUp:
    with _lock:
        found = _known.get(name)
        if found is not None and not found.is_stale:
            return found
        _known[name] = asked = _LookUp(name)
    if _is_numeric(name):
        asked.ask()
        return asked
    with _lock:
        if len(_threads) < THREADS_MAX:
            # Daemons: the interpreter would wait at its end for others, as long as the name service is silent.
            thread = threading.Thread(target=_serve, daemon=True, name=f"names-{len(_threads)}")
            with contextlib.suppress(RuntimeError):  # the machine gives no more: those that there are must do
                thread.start()
                _threads.append(thread)
    if _threads:
        _questions.put(asked)
    else:
        asked.ask()
    return asked


def _serve() -> None:
    while True:
        _questions.get().ask()


def _is_numeric(name: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False
