"""The journal: whole lines of several processes, damaged ones left out, rotated once."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snsnode.control import story
from snsnode.observe import events, journal
from snsnode.observe.events import Event, Moved, Paused, Resumed
from snsnode.observe.journal import Journal, read
from tests.full_disk import small_disk
from tests.processes import STEP_S

MASTER_UP = events.Up(of="master", cause="died", partner_pid=7, took_ms=1.5)
_WRITE = """
import sys
from pathlib import Path
from snsnode.observe import events, journal
journal.JOURNAL_BYTES_MAX = int(sys.argv[3])
mine = journal.Journal(Path(sys.argv[1]), "vm2", sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(500):
    mine.write(events.LaunchFailed(of="master", cause=f"{number} " + "x" * (number % 50 * 20)))
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
    Journal(path, "vm2", "slave").write(MASTER_UP)
    (entry,) = read(path)
    assert (entry.role, entry.event, entry.what) == ("slave", "master-up", MASTER_UP)
    assert (entry.vm, entry.pid) == ("vm2", os.getpid())
    told = {"cause": "died", "partner_pid": 7, "took_ms": 1.5}
    assert entry.fields == {"vm": "vm2", "pid": os.getpid(), **told}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.at)
    assert path.stat().st_mode & 0o077 == 0


def test_without_a_file_there_are_no_entries(path: Path) -> None:
    assert read(path) == ()


def test_lines_of_several_processes_never_mix(path: Path) -> None:
    write_from_several_processes(path, 10**9)
    lines = path.read_text().splitlines()
    assert len(lines) == 1500
    for role in ("role0", "role1", "role2"):
        found = [raw for raw in map(json.loads, lines) if raw["role"] == role]
        numbers = [int(raw["cause"].split()[0]) for raw in found]
        assert numbers == list(range(500))


def test_rotation_by_several_processes_at_once_keeps_the_full_file(path: Path) -> None:
    bytes_max = 30_000
    write_from_several_processes(path, bytes_max)
    assert {file.name for file in path.parent.iterdir()} <= {"journal.jsonl", "journal.jsonl.1"}
    path.touch()  # the last line may have filled it
    old = path.with_name("journal.jsonl.1")
    assert bytes_max < old.stat().st_size  # a small one never took the place of a full one
    for entry in map(json.loads, old.read_text().splitlines()):
        assert entry["event"] == "master-launch-failed"
    assert len(list(read(path))) == len((old.read_text() + path.read_text()).splitlines())


def test_one_who_found_the_file_full_too_late_does_not_rotate_the_next(path: Path) -> None:
    """Both opened the full file; the other one has renamed it and begun the next."""
    late = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        path.rename(path.with_name("journal.jsonl.1"))
        Journal(path, "vm2", "slave").write(Paused())
        Journal(path, "vm2", "master")._rotate(late)
    finally:
        os.close(late)
    assert '"paused"' in path.read_text()


def test_a_full_journal_is_rotated_and_both_files_are_read_in_order(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "JOURNAL_BYTES_MAX", 2000)
    mine = Journal(path, "vm2", "slave")
    for number in range(100):
        mine.write(Moved(clients=number, left=0, took_ms=0))
    numbers = [entry.fields["clients"] for entry in read(path)]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) > 2000 // 120
    assert all(file.stat().st_size < 2500 for file in path.parent.iterdir())


@pytest.mark.parametrize(
    "cut", [b'{"at": "2026", "ro', b'{"at": "x", "role": "y"}', b"5", b'"text"', b"[]", b"null", b"\xff\xfe", b""]
)
def test_a_line_that_was_cut_short_is_left_out_and_takes_no_other_with_it(path: Path, cut: bytes) -> None:
    mine = Journal(path, "vm2", "slave")
    mine.write(Paused())
    with path.open("ab") as file:
        file.write(cut)  # no newline: the disk was full
    assert [entry.event for entry in read(path)] == ["paused"]
    mine.write(Resumed())
    assert [entry.event for entry in read(path)] == ["paused", "resumed"]


@pytest.mark.parametrize(
    "words", ["line one\nline two", "a\u2028b\u0085c\x0bd\x1ce", "\udc80 not Unicode", "ä 🎈 \0"]
)
def test_any_words_come_back(path: Path, words: str) -> None:
    Journal(path, "vm2", "slave").write(events.LaunchFailed(of="master", cause=words))
    (entry,) = read(path)
    assert entry.fields["cause"] == words
    assert path.read_bytes().count(b"\n") == 1


def test_a_full_disk_loses_the_entry_and_nothing_else() -> None:
    with small_disk() as disk:
        path = disk.folder / "journal.jsonl"
        mine = Journal(path, "vm2", "slave")
        mine.write(Paused())
        disk.fill()
        for _ in range(100):
            mine.write(events.FirstLaunch(cause="x" * 100))  # the first fill the file's own last block
        disk.free()
        mine.write(Resumed())
        found = [entry.event for entry in read(path)]
        assert (found[0], found[-1]) == ("paused", "resumed")
        assert set(found[1:-1]) == {"first-launch"}
        assert len(found) < 50


def test_a_missing_folder_loses_the_entry_and_nothing_else(tmp_path: Path) -> None:
    Journal(tmp_path / "missing" / "journal.jsonl", "vm2", "slave").write(Paused())
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
    Journal(path, "vm2", "slave").write(Paused())
    assert [entry.event for entry in read(path)] == ["paused"]


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


def one_of_each() -> list[Event]:
    """Return an event of each class, once with and once without what may be left out."""
    values: dict[object, object] = {str: "ä", int: 5, events.Number: 1.5, events.Role: "slave"}
    made = []
    for kind in events.ALL:
        of = {"of": "master"} if issubclass(kind, events.OfRole) else {}
        told = events.told_by(kind)
        for full in (True, False):
            given = {each.name: values[each.base] for each in told if full or not each.optional}
            made.append(kind(**of, **given))
    return made


@pytest.mark.parametrize("event", one_of_each(), ids=lambda event: event.name)
def test_each_event_comes_back_and_has_a_sentence(path: Path, event: Event) -> None:
    Journal(path, "vm2", "slave").write(event)
    (entry,) = read(path)
    assert entry.what == event
    for sentence in story.tell([entry]):
        assert f"): {event.name}" not in sentence.text  # so stands an event that the story does not know


def test_no_two_events_have_one_name() -> None:
    names = {kind.WORD for kind in events.ALL}
    assert len(names) == len(events.ALL)
    written = {kind for kind in vars(events).values() if isinstance(kind, type) and "WORD" in vars(kind)}
    assert written - {Event} == set(events.ALL)


@pytest.mark.parametrize(
    "given",
    [
        {"cause": 5, "partner_pid": 7},
        {"cause": "died", "partner_pid": "7"},
        {"cause": "died", "partner_pid": True},
        {"cause": "died"},
        {"cause": "died", "partner_pid": 7, "epoch": 1.5},
        {"cause": None, "partner_pid": 7},
    ],
)
def test_an_event_whose_fields_are_of_another_type_is_none_of_ours(given: dict[str, object]) -> None:
    assert events.decode("master-up", given) is None
    entry = journal.Entry("2026-12-01T00:00:00.000Z", "slave", "master-up", given)
    assert entry.what is None
    [sentence] = story.tell([entry])
    assert "master-up" in sentence.text


@pytest.mark.parametrize(
    "name", ["", "-", "-up", "up", "spare-up", "router-up", "master-", "master-serving", "slave-up-again"]
)
def test_name_that_is_no_events_is_none_of_ours(name: str) -> None:
    assert events.decode(name, events.encode(MASTER_UP) | {"epoch": 1}) is None
