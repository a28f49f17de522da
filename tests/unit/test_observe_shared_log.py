"""One log file and several processes: no line is lost, and all of them write where people look."""

import fcntl
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from snsnode.observe.events import SlaveStarted
from snsnode.observe.journal import Journal, read
from snsnode.observe.shared_log import SharedLog
from tests.processes import STEP_S

BYTES_MAX = 20_000
KEPT = 3


class Writer:
    """What one process has: a logger with the file open."""

    def __init__(self, path: Path, bytes_max: int = BYTES_MAX) -> None:
        self.handler = SharedLog(path, bytes_max, KEPT)
        self.handler.setFormatter(logging.Formatter("%(message)s"))

    def say(self, text: str) -> None:
        self.handler.handle(logging.LogRecord("x", logging.INFO, "", 0, text, None, None))


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[tuple[Writer, Writer]]:
    both = Writer(tmp_path / "master.log"), Writer(tmp_path / "master.log")
    yield both
    for writer in both:
        writer.handler.close()


def all_lines(path: Path) -> list[str]:
    return [line for file in path.parent.glob(f"{path.name}*") for line in file.read_text().splitlines()]


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced", "truncated", "folder"])
def test_a_log_that_was_taken_away_is_written_anew(how: str, tmp_path: Path) -> None:
    path = tmp_path / "log" / "router.log"
    writer = Writer(path)
    writer.say("before")
    match how:
        case "removed":
            path.unlink()
        case "renamed":
            path.rename(tmp_path / "elsewhere")
        case "replaced":
            (tmp_path / "new").touch()
            (tmp_path / "new").replace(path)
        case "truncated":
            os.truncate(path, 0)
        case "folder":
            path.parent.rename(tmp_path / "old")
    writer.say("after")
    writer.handler.close()
    assert path.read_text() == "after\n"
    assert how in ("replaced", "truncated") or path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("taken", ["removed", "renamed"])
def test_a_journal_that_was_taken_away_is_written_anew(taken: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, "vm1", "slave")
    journal.write(SlaveStarted())
    if taken == "removed":
        path.unlink()
    else:
        path.rename(tmp_path / "elsewhere")
    journal.write(SlaveStarted())
    assert len(read(path)) == 1


def test_the_other_process_follows_a_rotation(writers: tuple[Writer, Writer], tmp_path: Path) -> None:
    """A spare holds the file open for long, and becomes the master: then it writes where people look."""
    master, spare = writers
    spare.say("I am the spare")
    for number in range(300):
        master.say(f"{number} {'x' * 90}")
    spare.say("I am the master now")
    assert (tmp_path / "master.log").read_text().endswith("I am the master now\n")
    assert len(list(tmp_path.iterdir())) == 2


def test_both_find_it_full_and_one_rotates(writers: tuple[Writer, Writer], tmp_path: Path) -> None:
    for number in range(150):
        for who, writer in enumerate(writers):
            writer.say(f"{who}-{number} {'x' * 90}")
    counts = Counter(line.split()[0] for line in all_lines(tmp_path / "master.log"))
    assert counts == {f"{who}-{number}": 1 for who in (0, 1) for number in range(150)}


def test_what_is_printed_goes_along(tmp_path: Path) -> None:
    """A slave gives its master the file as standard output; what it prints must not stay in the old one."""
    path = tmp_path / "master.log"
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom snsnode.observe import logs\nimport logging\n"
        "path = Path(sys.argv[1])\nlogs.to_file(path, 'master', 'vm2')\npath.unlink()\n"
        "logging.info('logged')\nos.write(2, b'printed\\n')\n"
    )
    with path.open("ab") as output:
        command = [sys.executable, "-c", program, str(path)]
        assert subprocess.run(command, stdout=output, stderr=output, timeout=STEP_S, check=False).returncode == 0
    logged, printed = path.read_text().splitlines()
    assert logged.endswith("logged") and printed == "printed"


def test_processes_that_rotate_at_once_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "master.log"
    program = (
        "import logging, sys\nfrom pathlib import Path\nfrom snsnode.observe.shared_log import SharedLog\n"
        "log = logging.getLogger()\nlog.setLevel(logging.INFO)\n"
        f"log.addHandler(SharedLog(Path(sys.argv[1]), 30_000, {KEPT + 100}))\n"
        "for number in range(2000):\n    log.info('%s-%d %s', sys.argv[2], number, 'x' * 90)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), str(who)]) for who in range(3)]
    assert [writer.wait(STEP_S * 3) for writer in writers] == [0, 0, 0]
    counts = Counter(line.split()[0] for line in all_lines(path))
    assert counts == {f"{who}-{number}": 1 for who in range(3) for number in range(2000)}
    assert len(list(tmp_path.iterdir())) > 10


def test_a_line_written_just_as_another_process_rotates_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "master.log"
    writer = Writer(path)
    writer.say("x" * BYTES_MAX)
    lock = fcntl.flock

    def renamed_first(descriptor: int, operation: int) -> None:
        if path.exists():
            path.rename(tmp_path / "master.log.1")
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", renamed_first)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    writer.say("after")
    writer.handler.close()
    assert path.read_text() == "after\n"


def test_one_who_found_it_full_too_late_does_not_rotate_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "master.log"
    writer = Writer(path)
    writer.say("x" * BYTES_MAX)
    lock = fcntl.flock

    def rotated_first(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX:
            path.rename(tmp_path / "master.log.1")
            path.write_text("next\n")
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", rotated_first)
    writer.say("after")
    writer.handler.close()
    assert path.read_text() == "next\nafter\n"
    assert not (tmp_path / "master.log.2").exists()
