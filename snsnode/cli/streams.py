"""The one exit of ``snsctl``: whatever a command prints, on standard output or error, goes through here.

An outlet escapes what could steer a terminal, wherever the text came from: a journal, a log, a server's refusal, a
file's name. It never fails the command: where the reader has left or the disk is full, the rest is dropped, the
command does its work to the end, and ``main`` tells by the exit code that the output was lost.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any, NoReturn

from snsnode.base.harmless import harmless, harmless_json

_STYLES = {"bold": "1", "green": "32", "yellow": "33", "bold green": "1;32", "bold red": "1;31"}
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the alternate screen, without a cursor
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

Piece = tuple[str, str]  # text and its style, "" for none


class Outlet:
    """Stands in for ``sys.stdout`` or ``sys.stderr``. It has no ``buffer``: nobody writes around it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.encoding = "utf-8"
        self.errors = "backslashreplace"
        self.lost: OSError | None = None  # why output was dropped

    def write(self, text: str) -> int:
        """Write ``text``, made harmless; lines and tabs stay."""
        self._put(harmless(text, keep="\n\t"))
        return len(text)

    def write_styled(self, pieces: Sequence[Piece]) -> None:
        """Write pieces of text, each made harmless, in colours where this is a terminal that has them."""
        colours = self.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._put("".join(_styled(text, style if colours else "") for text, style in pieces))

    def flush(self) -> None:
        """Do nothing: every write has left already."""

    def isatty(self) -> bool:
        """Tell whether a person reads it."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._stream.fileno()

    @property
    def bare(self) -> IO[str]:
        """The stream behind it, for what draws on a terminal: its text must be ours alone."""
        return self._stream

    @contextmanager
    def alternate_screen(self) -> Iterator["Screen"]:
        """Show pages instead of what stood on the terminal, which comes back at the end, also by a signal."""
        with unwound_by_signals():
            self._put(_ENTER)
            try:
                yield Screen(self)
            finally:
                self._put(_LEAVE)

    def _put(self, text: str) -> None:
        if self.lost is not None:
            return
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):  # a stream of a test, which is no file
            self._stream.write(text)
            return
        try:
            _write_all(descriptor, text.encode(errors="backslashreplace"))
        except OSError as error:
            self.lost = error


class Screen:
    """A terminal of which the whole page is shown anew."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def show(self, lines: Sequence[Sequence[Piece]]) -> None:
        """Replace the page."""
        self._outlet._put(_HOME)
        for number, line in enumerate(lines):
            if number:
                self._outlet._put("\n")
            self._outlet.write_styled(line)
            self._outlet._put(_END_OF_LINE)
        self._outlet._put(_REST)


@contextmanager
def installed() -> Iterator[tuple[Outlet, Outlet]]:
    """Put outlets in the place of ``sys.stdout`` and ``sys.stderr`` for the ``with`` block."""
    _open_standard_descriptors()
    before = sys.stdout, sys.stderr
    # Python has None for a descriptor that was closed as it started.
    outlets = tuple(
        Outlet(stream or open(number, "w", closefd=False))  # noqa: SIM115
        for number, stream in ((1, sys.stdout), (2, sys.stderr))
    )
    sys.stdout, sys.stderr = outlets
    try:
        yield outlets[0], outlets[1]
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def bare() -> Iterator[None]:
    """Take the outlets away for the ``with`` block: for the terminal client, which has an exit of its own."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (each.bare if isinstance(each, Outlet) else each for each in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def output() -> Outlet:
    """Return where standard output leaves; only while ``installed``."""
    return sys.stdout if isinstance(sys.stdout, Outlet) else Outlet(sys.stdout)


def tell(line: str) -> None:
    """Say what was done, or found: one line on standard output."""
    output().write(line + "\n")


def tell_json(value: object) -> None:
    """Print ``value`` as JSON on one line."""
    output().write(harmless_json(json.dumps(value, ensure_ascii=False)) + "\n")


def complain(line: str) -> None:
    """Say on standard error what is wrong."""
    outlet = sys.stderr if isinstance(sys.stderr, Outlet) else Outlet(sys.stderr)
    outlet.write(line + "\n")


@contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and SIGQUIT unwind the ``with`` block as an interrupt does, and then do what they do.

    In the main thread only. A signal that is ignored, as under nohup, stays ignored.
    """
    caught: list[int] = []

    def unwind(number: int, _: FrameType | None) -> NoReturn:
        caught.append(number)
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # the block is unwound once
        raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {
        number: signal.getsignal(number) for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL
    }
    for number in before:
        signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if caught:
            os.kill(os.getpid(), caught[0])


def _open_standard_descriptors() -> None:
    """Let a closed standard descriptor lead nowhere: else the next file or socket would get its number."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:  # a pipe or terminal that somebody made non-blocking
            ready = select.poll()
            ready.register(descriptor, select.POLLOUT)
            ready.poll()


def _styled(text: str, style: str) -> str:
    plain = harmless(text, keep="\n\t")
    return f"\x1b[{_STYLES[style]}m{plain}\x1b[0m" if style else plain
