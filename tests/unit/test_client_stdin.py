"""Standard input as lines: real pipes and terminals."""

import os
import termios
import threading
import tty
from collections.abc import Iterator

import pytest

from snsnode.base.errors import InvalidInput
from snsnode.client import stdin
from snsnode.client.stdin import LINE_BYTES_MAX, Unreadable

WITHIN_S = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ours, theirs = os.pipe()
    yield ours, theirs
    for descriptor in (ours, theirs):
        try:
            os.close(descriptor)
        except OSError:
            continue


def read_all(pipe: tuple[int, int], data: bytes) -> list[str | InvalidInput]:
    writer = threading.Thread(target=write_all, args=(pipe[1], data))
    writer.start()
    found = list(stdin.lines(pipe[0]))
    writer.join(WITHIN_S)
    return found


def write_all(descriptor: int, data: bytes) -> None:
    """Write, and close."""
    while data:
        data = data[os.write(descriptor, data) :]
    os.close(descriptor)


def test_lines_of_a_pipe(pipe: tuple[int, int]) -> None:
    found = read_all(pipe, b"one\r\n\n\xff\x00\nlast")
    assert found == ["one", "", "\udcff\x00", "last"]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_line_that_is_too_long_is_one_refusal_and_the_next_is_whole(pipe: tuple[int, int], end: bytes) -> None:
    found = read_all(pipe, b"first\n" + b" " * (3 * LINE_BYTES_MAX) + b"hidden" + end)
    assert found[0] == "first"
    assert [type(line) for line in found[1:]] == [InvalidInput]


def test_longest_line_is_whole(pipe: tuple[int, int]) -> None:
    found = read_all(pipe, b"x" * LINE_BYTES_MAX + b"\nnext\n")
    assert [len(str(line)) for line in found] == [LINE_BYTES_MAX, 4]


def test_pipe_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[0], False)
    found = stdin.lines(pipe[0])
    for text in ("one", "two"):
        later = threading.Timer(0.1, os.write, (pipe[1], f"{text}\n".encode()))
        later.start()
        assert next(found) == text
        later.join()
    os.close(pipe[1])
    assert list(found) == []


@pytest.mark.parametrize(("least", "blocking"), [(0, True), (1, True), (1, False)])
def test_terminal_in_raw_mode_is_waited_for_and_enter_ends_a_line(least: int, blocking: bool) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    modes = termios.tcgetattr(theirs)
    modes[6][termios.VMIN], modes[6][termios.VTIME] = least, 0
    termios.tcsetattr(theirs, termios.TCSANOW, modes)
    os.set_blocking(theirs, blocking)
    found = stdin.lines(theirs)
    try:
        for text in ("one", "two"):
            later = threading.Timer(0.1, os.write, (ours, f"{text}\r".encode()))
            later.start()
            assert next(found) == text
            later.join()
        os.write(ours, b"\x04")
        assert list(found) == []
    finally:
        os.close(ours)
        os.close(theirs)


def test_terminal_that_is_gone_is_the_end() -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.close(ours)
    assert list(stdin.lines(theirs)) == []
    os.close(theirs)


def test_input_that_breaks_is_no_end() -> None:
    folder = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(Unreadable, match="cannot read standard input: Is a directory"):
            list(stdin.lines(folder))
    finally:
        os.close(folder)
