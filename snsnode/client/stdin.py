"""Lines from standard input, whatever it is: a pipe, a file, a socket, a terminal; blocking or not.

Called by ``terminal``. The bare descriptor is read: a thread that held the lock of ``sys.stdin`` at the
interpreter's end would abort it.
"""

import errno
import os
import select
import termios
from collections.abc import Iterator

from snsnode.base.errors import InvalidInput, SnsError

LINE_BYTES_MAX = 65_536  # of a line; far above any post

_STDIN = 0
_LFLAG = 3  # where termios.tcgetattr has the local modes
_LEAVE = (b"\x03", b"\x04")  # Ctrl-C and Ctrl-D, as a terminal in raw mode gives them


class Unreadable(SnsError):
    """Standard input broke: what was not read is lost."""

    code = "input"


def hold() -> None:
    """Open /dev/null where standard input is closed: else the next socket would get its number and be read."""
    try:
        os.fstat(_STDIN)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)  # gets the lowest free number, which is 0


def lines(descriptor: int = _STDIN) -> Iterator[str | InvalidInput]:
    """Yield each line without its end, and what is wrong with one that is too long, until the input ends.

    Raises:
        Unreadable: it broke before its end.
    """
    raw = _is_raw(descriptor)
    held, too_long = b"", False
    while chunk := _read(descriptor, raw):
        *ends, held = (held + _lines_of(chunk, raw)).split(b"\n")
        for line in ends:
            if raw and line.endswith(_LEAVE):
                return
            yield _too_long() if too_long or len(line) > LINE_BYTES_MAX else _decoded(line)
            too_long = False
        if raw and held.endswith(_LEAVE):
            return
        if len(held) > LINE_BYTES_MAX:
            held, too_long = b"", True
    if too_long:
        yield _too_long()
    elif held:
        yield _decoded(held)


def _read(descriptor: int, raw: bool) -> bytes:
    """Wait for some bytes; none mean the end."""
    while True:
        try:
            chunk = os.read(descriptor, LINE_BYTES_MAX)
        except BlockingIOError:
            chunk = None  # not blocking, and nothing there: that is no end
        except OSError as error:
            if error.errno in (errno.EIO, errno.EBADF):
                return b""  # a terminal that is gone: there is no more
            raise Unreadable(f"cannot read standard input: {error.strerror}; the rest of it is lost") from None
        if chunk or (chunk is not None and not raw):
            return chunk
        if _hung_up(descriptor) and chunk is not None:
            return b""


def _hung_up(descriptor: int) -> bool:
    """Wait until there is something to read, and tell whether the other end is gone and there is nothing."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return any(event & select.POLLHUP and not event & select.POLLIN for _, event in poll.poll())


def _is_raw(descriptor: int) -> bool:
    """Tell whether it is a terminal that gives single keys: there Enter is a return, and no bytes are no end."""
    try:
        return not termios.tcgetattr(descriptor)[_LFLAG] & termios.ICANON
    except termios.error:
        return False


def _lines_of(chunk: bytes, raw: bool) -> bytes:
    return chunk.replace(b"\r", b"\n") if raw else chunk


def _too_long() -> InvalidInput:
    return InvalidInput(f"cannot take a line of more than {LINE_BYTES_MAX} bytes: write a shorter one")


def _decoded(line: bytes) -> str:
    # What is no UTF-8 becomes halves of characters, which the check of a post's text names.
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
