"""The journal: whole lines of several processes, damaged ones left out, rotated once."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snsnode.control import story
from snsnode.observe import journal
from snsnode.observe.journal import Journal, read
from tests.full_disk import small_disk
from tests.processes import STEP_S

_WRITE = """
import sys
from pathlib import Path
from snsnode.observe import journal
journal.JOURNAL_BYTES_MAX = int(sys.argv[3])
mine = journal.Journal(Path(sys.argv[1]), "vm2", sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(500):
    mine.write("line", number=number, more="x" * (number % 50 * 20))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write_from_several_processes(path: Path, bytes_max: int, writers: int = 3) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITE, str(path), f"role{number}", str(bytes_max)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(writers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
    finally:
        for process in processes:
            process.communicate("go\n", timeout=STEP_S)
    assert [process.returncode for process in processes] == [0] * writers


def test_an_entry_is_read_back(path: Path) -> None:
    Journal(path, "vm2", "slave").write("master-down", cause="died", epoch=None, took_ms=1.5)
    (entry,) = read(path)
    assert (entry.role, entry.event) == ("slave", "master-down")
    assert entry.fields == {"vm": "vm2", "pid": os.getpid(), "cause": "died", "took_ms": 1.5}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.at)
    assert path.stat().st_mode & 0o077 == 0


def test_without_a_file_there_are_no_entries(path: Path) -> None:
    assert read(path) == ()


def test_lines_of_several_processes_never_mix(path: Path) -> None:
    write_from_several_processes(path, 10**9)
    lines = path.read_text().splitlines()
    assert len(lines) == 1500
    for role in ("role0", "role1", "role2"):
        numbers = [raw["number"] for raw in map(json.loads, lines) if raw["role"] == role]
        assert numbers == list(range(500))


def test_rotation_by_several_processes_at_once_keeps_the_full_file(path: Path) -> None:
    bytes_max = 30_000
    write_from_several_processes(path, bytes_max)
    assert {file.name for file in path.parent.iterdir()} <= {"journal.jsonl", "journal.jsonl.1"}
    path.touch()  # the last line may have filled it
    old = path.with_name("journal.jsonl.1")
    assert bytes_max < old.stat().st_size  # a small one never took the place of a full one
    for entry in map(json.loads, old.read_text().splitlines()):
        assert entry["event"] == "line"
    assert len(list(read(path))) == len((old.read_text() + path.read_text()).splitlines())


def test_one_who_found_the_file_full_too_late_does_not_rotate_the_next(path: Path) -> None:
    """Both opened the full file; the other one has renamed it and begun the next."""
    late = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        path.rename(path.with_name("journal.jsonl.1"))
        Journal(path, "vm2", "slave").write("first of the next")
        Journal(path, "vm2", "master")._rotate(late)
    finally:
        os.close(late)
    assert "first of the next" in path.read_text()


def test_a_full_journal_is_rotated_and_both_files_are_read_in_order(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "JOURNAL_BYTES_MAX", 2000)
    mine = Journal(path, "vm2", "slave")
    for number in range(100):
        mine.write("line", number=number)
    numbers = [entry.fields["number"] for entry in read(path)]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) > 2000 // 120
    assert all(file.stat().st_size < 2500 for file in path.parent.iterdir())


@pytest.mark.parametrize(
    "cut", [b'{"at": "2026", "ro', b'{"at": "x", "role": "y"}', b"5", b'"text"', b"[]", b"null", b"\xff\xfe", b""]
)
def test_a_line_that_was_cut_short_is_left_out_and_takes_no_other_with_it(path: Path, cut: bytes) -> None:
    mine = Journal(path, "vm2", "slave")
    mine.write("first")
    with path.open("ab") as file:
        file.write(cut)  # no newline: the disk was full
    assert [entry.event for entry in read(path)] == ["first"]
    mine.write("second")
    assert [entry.event for entry in read(path)] == ["first", "second"]


@pytest.mark.parametrize(
    "words", ["line one\nline two", "a\u2028b\u0085c\x0bd\x1ce", "\udc80 not Unicode", "ä 🎈 \0"]
)
def test_any_words_come_back(path: Path, words: str) -> None:
    Journal(path, "vm2", "slave").write("launch-failed", cause=words)
    (entry,) = read(path)
    assert entry.fields["cause"] == words
    assert path.read_bytes().count(b"\n") == 1


def test_a_full_disk_loses_the_entry_and_nothing_else() -> None:
    with small_disk() as disk:
        path = disk.folder / "journal.jsonl"
        mine = Journal(path, "vm2", "slave")
        mine.write("first")
        disk.fill()
        for _ in range(100):
            mine.write("lost", words="x" * 100)  # the first fill the file's own last block
        disk.free()
        mine.write("last")
        events = [entry.event for entry in read(path)]
        assert (events[0], events[-1]) == ("first", "last")
        assert set(events[1:-1]) == {"lost"}
        assert len(events) < 50


def test_a_missing_folder_loses_the_entry_and_nothing_else(tmp_path: Path) -> None:
    Journal(tmp_path / "missing" / "journal.jsonl", "vm2", "slave").write("lost")
    assert list(tmp_path.iterdir()) == []


GOOD = b'{"at": "2026-12-01T00:00:00.000Z", "vm": "vm2", "role": "slave", "pid": 1, "event": "slave-started"}'
FOREIGN = [
    *(
        GOOD.replace(b'"slave-started"', value)
        for value in (b"1", b"null", b"[]", b"{}", b"NaN", b'"\\n' + b"x" * 99)
    ),
    *(GOOD.replace(b'"slave"', value) for value in (b"1", b"null", b"[[]]", b"true")),
    *(GOOD.replace(b'"2026-12-01T00:00:00.000Z"', value) for value in (b"1", b"null", b"[]", b'""' + b"x")),
    *(GOOD.replace(b'"vm2"', value) for value in (b"1", b"null", b"{}", b'"' + b"v" * 99 + b'"')),
    *(GOOD.replace(b'"pid": 1', b'"pid": ' + value) for value in (b"[1]", b"Infinity", b"1e999", b"9" * 5000)),
    GOOD.replace(b'"pid"', b'"' + b"p" * 99 + b'"'),
    GOOD.decode().encode("utf-16-le"),
    GOOD + b"\0",
    GOOD[:50],
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"at": 5, "role": {}, "event": []}',
    b"Nov 30 23:59:59 host syslogd: restarted",
    b"\x1b[2J\x1b]0;x\x07",
]


@pytest.mark.parametrize("line", FOREIGN, ids=range(len(FOREIGN)))
def test_a_line_that_is_no_entry_of_ours_is_left_out_and_counted(path: Path, line: bytes) -> None:
    path.write_bytes(GOOD + b"\n" + line + b"\n\n" + GOOD + b"\n")
    found = journal.history(path)
    assert [entry.event for entry in found.entries] == ["slave-started"] * 2
    assert found.skipped >= 1
    assert len(story.tell(found.entries)) == 2


def test_what_is_no_file_has_no_entries_and_is_set_aside_by_who_writes(path: Path) -> None:
    os.mkfifo(path)
    path.with_name("journal.jsonl.1").mkdir()
    assert journal.history(path) == journal.History((), 2)
    Journal(path, "vm2", "slave").write("first")
    assert [entry.event for entry in read(path)] == ["first"]


def test_of_a_huge_journal_the_newest_entries_are_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 34)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + GOOD + b"\n")
    assert [entry.event for entry in read(path)] == ["slave-started"]


def test_a_file_that_was_set_aside_is_told(path: Path) -> None:
    Journal(path, "vm2", "master").note_damage(
        Path("state/epoch"), Path("state/epoch.damaged-1"), "it is a folder"
    )
    [sentence] = story.tell(read(path))
    assert sentence.text == (
        f"epoch was damaged (it is a folder); the master (process {os.getpid()}) set it aside as epoch.damaged-1 "
        "and went on without"
    )
