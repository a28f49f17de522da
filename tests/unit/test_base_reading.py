"""Reading within bounds: nothing that stands in a file's place holds a reader up, or ends it."""

import logging
import os
import socket
from pathlib import Path

import pytest

from snsnode.base import aside, fields, reading
from snsnode.base.reading import Damaged

DAMAGED = {
    "empty": b"",
    "cut short": b'{"pid": 4',
    "no object": b"[1, 2]",
    "nested deep": b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
    "nested lists": b'{"a": ' + b"[" * 60_000 + b"]",
    "nested nine levels": b'{"a": ' + b"[" * 9 + b"]" * 9 + b"}",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a float beyond floats": b'{"a": 1e999}',
    "a number of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a number of 65 bits": b'{"a": 18446744073709551616}',
    "a lone surrogate": rb'{"a": "\ud800"}',
    "a lone surrogate as a key": rb'{"\udfff": 1}',
    "a NUL": b'{"a": 1}\0',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin-1": b'{"a": "\xe4"}',
    "a BOM": b'\xef\xbb\xbf{"a": 1}',
    "too large": b'{"a": "' + b"x" * reading.BYTES_MAX + b'"}',
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.json"


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_record_is_damaged(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Damaged) as refused:
        reading.read_object(path)
    assert len(str(refused.value)) < 200
    assert str(refused.value).isprintable()


def put_fifo(path: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def put_loop(path: Path) -> None:
    path.symlink_to(path.name)


def put_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


STRANGERS = {
    "a folder": Path.mkdir,
    "a pipe": put_fifo,
    "a socket": put_socket,
    "a loop of links": put_loop,
    "an endless device": put_device,
}


@pytest.mark.parametrize("put", STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_regular_file_is_neither_waited_for_nor_read(tmp_path: Path, put: object) -> None:
    path = Path(os.path.relpath(tmp_path)) / "r"  # a socket's name is short
    assert callable(put)
    put(path)
    for read in (reading.read_bytes, reading.read_text, reading.read_object):
        with pytest.raises(Damaged, match="it is a "):
            read(path)
    with pytest.raises(Damaged, match="it is a "):
        reading.read_tail(path, 10)


def test_a_huge_file_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Damaged, match="1099511627776 bytes"):
        reading.read_bytes(path)
    assert reading.read_tail(path, 10) == bytes(10)


def test_a_missing_file_is_missing(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        reading.read_object(path)


def test_the_tail_is_what_came_last(path: Path) -> None:
    path.write_bytes(b"0123456789")
    assert reading.read_tail(path, 4) == b"6789"
    assert reading.read_tail(path, 4, since=8) == b"89"
    assert reading.read_tail(path, 4, since=20) == b""


def test_surrogates_are_taken_where_they_are_asked_for() -> None:
    assert reading.parse_object(r'{"a": "\udc80"}', surrogates=True) == {"a": "\udc80"}


def test_a_field_is_of_its_type_and_within_its_range() -> None:
    raw = {"pid": 7, "at": 1, "word": "x", "on": True, "nested": [[1]], "long": "y" * 9}
    assert fields.whole(raw, "pid") == 7
    assert fields.real(raw, "at", 0, 1) == 1.0
    assert fields.text(raw, "word") == "x"
    assert fields.flag(raw, "on") is True
    for wrong in ("on", "word", "nested", "missing"):
        with pytest.raises(Damaged):
            fields.whole(raw, wrong)
        with pytest.raises(Damaged):
            fields.real(raw, wrong, 0, 9)
    with pytest.raises(Damaged, match="pid is 7, no whole number from 8 to 9"):
        fields.whole(raw, "pid", 8, 9)
    with pytest.raises(Damaged, match="long is 'yyyyyyyyy', no text of at most 8"):
        fields.text(raw, "long", 8)
    with pytest.raises(Damaged):
        fields.flag(raw, "pid")
    with pytest.raises(Damaged):
        fields.real({"at": float("nan")}, "at", 0, 9)


@pytest.mark.parametrize("words", ["", "-1", "1.0", "1_0", "٣", "9" * 5000, "11", "nan"])
def test_a_number_of_one_line_is_decimal_and_within_its_range(words: str) -> None:
    assert fields.parse_whole(" 10\n", "pid", 1, 10) == 10
    with pytest.raises(Damaged, match="pid is "):
        fields.parse_whole(words, "pid", 1, 10)


# --- putting away ---------------------------------------------------------------------------------------------


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    heard: list[tuple[str, str, str]] = []
    monkeypatch.setattr(
        aside, "listeners", [lambda path, place, cause: heard.append((path.name, place.name, cause))]
    )
    monkeypatch.setattr(aside, "_told_s", {})
    return heard


def test_a_damaged_file_is_renamed_and_told_once(
    path: Path, heard: list[tuple[str, str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for number in range(20):
            path.write_text(str(number))
            assert aside.set_aside(path, "it is no JSON") is not None
            assert not path.exists()
    assert heard == [("record.json", "record.json.damaged-1", "it is no JSON")]
    assert len(caplog.records) == 1
    kept = aside.damaged_files(path.parent)
    assert len(kept) == aside.KEPT_MAX
    assert {"19", "18"} <= {file.read_text() for file in kept}


def test_a_file_that_is_gone_is_nobodys_trouble(path: Path, heard: list[tuple[str, str, str]]) -> None:
    assert aside.set_aside(path, "it is no JSON") is None
    assert heard == []


def test_what_a_writer_would_wait_for_is_cleared_out_of_its_way(
    path: Path, heard: list[tuple[str, str, str]]
) -> None:
    for put in (put_fifo, Path.mkdir, put_loop):
        put(path)
        aside.clear_way(path)
        assert not os.path.lexists(path)
    assert heard[0] == ("record.json", "record.json.damaged-1", "it is a pipe")


def test_a_regular_file_a_link_to_one_and_a_device_stay(path: Path, heard: list[tuple[str, str, str]]) -> None:
    path.write_text("x")
    link, null = path.with_name("link"), path.with_name("null")
    link.symlink_to(path)
    null.symlink_to("/dev/null")
    for there in (path, link, null, path.with_name("missing")):
        aside.clear_way(there)
    assert (path.read_text(), link.is_symlink(), null.is_symlink()) == ("x", True, True)
    assert heard == []


def test_a_pipe_that_somebody_writes_to_can_be_named_and_a_silent_one_is_not_waited_for(path: Path) -> None:
    path.write_text("from a file")
    assert reading.read_given(path, 100, 0.01) == b"from a file"
    assert reading.read_given(Path("/dev/zero"), 100, 0.01) == bytes(100)
    ours, theirs = os.pipe()
    os.write(theirs, b"from a pipe")
    with pytest.raises(Damaged, match=r"nothing came from it for 0\.01 s"):
        reading.read_given(Path(f"/dev/fd/{ours}"), 100, 0.01)
    os.write(theirs, b"from a pipe")
    os.close(theirs)
    assert reading.read_given(Path(f"/dev/fd/{ours}"), 100, 0.01) == b"from a pipe"
    os.close(ours)
    for put in (put_socket, Path.mkdir, put_loop):
        other = Path(os.path.relpath(path.parent)) / put.__name__
        put(other)
        with pytest.raises(Damaged):
            reading.read_given(other, 100, 0.01)
