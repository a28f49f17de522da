"""A role's log: its own file, rotated, and never the end of the process."""

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from snsnode.observe import bounded, logs
from tests.full_disk import small_disk
from tests.processes import STEP_S

log = logging.getLogger("snsnode.test")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


def test_a_line_says_when_what_who_and_goes_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log" / "slave.log"
    path.parent.mkdir()
    path.write_text("before\n")
    logs.to_file(path, "slave", "vm2")
    log.info("launched %s", "master")
    log.debug("too much")
    before, line = path.read_text().splitlines()
    assert before == "before"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO slave vm2 \[\d+\] launched master", line)


def test_what_others_said_is_one_line_and_steers_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "slave.log"
    logs.to_file(path, "slave", "vm2")
    refusal = "no\x1b]0;title\x07\n2026-12-01T00:00:00.000Z ERROR router vm1 [1] forged"
    log.warning("%s refused: %s", "vm1", refusal)
    try:
        raise ValueError(refusal)
    except ValueError:
        log.exception("failed")
    lines = path.read_text().splitlines()
    assert lines[0].endswith(r"refused: no\x1b]0;title\x07\n2026-12-01T00:00:00.000Z ERROR router vm1 [1] forged")
    assert lines[1].endswith("failed")
    assert "Traceback" in lines[2]
    assert "\x1b" not in "".join(lines)


def test_the_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    logs.to_file(tmp_path / "log" / "slave.log", "slave", "vm2")
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_a_full_log_is_rotated_and_three_old_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES_MAX", 1000)
    monkeypatch.setattr(bounded, "LINES_MAX", 1000)
    path = tmp_path / "slave.log"
    logs.to_file(path, "slave", "vm2")
    for number in range(200):
        log.info("line %d", number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["slave.log", "slave.log.1", "slave.log.2", "slave.log.3"]
    assert all(file.stat().st_size <= 1000 for file in files)
    newest_last = "".join(file.read_text() for file in (*reversed(files[1:]), files[0]))
    numbers = [int(line.rpartition(" ")[2]) for line in newest_last.splitlines()]
    assert numbers == list(range(numbers[0], 200))


def test_a_full_disk_loses_lines_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    with small_disk() as disk:
        path = disk.folder / "slave.log"
        logs.to_file(path, "slave", "vm2")
        log.info("before")
        disk.fill()
        for number in range(300):
            log.info("lost %d", number)
        disk.free()
        log.info("after")
        assert "before" in path.read_text()
        assert path.read_text().endswith("after\n")
    assert capfd.readouterr().err == ""  # no traceback of logging's own


def test_a_full_disk_does_not_stop_a_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES_MAX", 2000)
    with small_disk() as disk:
        path = disk.folder / "slave.log"
        logs.to_file(path, "slave", "vm2")
        disk.fill()
        for number in range(300):
            log.info("lost %d", number)
        disk.free()
        log.info("after")
        assert path.read_text().endswith("after\n")


def test_a_process_ends_well_on_a_full_disk() -> None:
    program = (
        "import logging, sys\nfrom pathlib import Path\nfrom snsnode.observe import bounded, logs\n"
        "logs.to_file(Path(sys.argv[1]), 'slave', 'vm2')\nlogging.info('x' * 100000)\n"
    )
    with small_disk() as disk:
        disk.fill()
        command = [sys.executable, "-c", program, str(disk.folder / "slave.log")]
        assert subprocess.run(command, timeout=STEP_S, check=False).returncode == 0


def test_the_command_line_hears_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr("snsctl")
    log.info("nothing")
    log.warning("something")
    assert re.fullmatch(r"\S+ WARNING snsctl - \[\d+\] something\n", capsys.readouterr().err)
