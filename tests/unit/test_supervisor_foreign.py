"""Programs that are not ours, in a supervisord whose loop is turned by hand: pid files, launchers, adopt lines."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from supervisor.states import ProcessStates

from snsnode.node.process import Identity
from snsnode.supervisord import foreign
from snsnode.supervisord.foreign import PidFileProcess
from tests.program_rig import STARTSECS, log_of, make, stranger

__all__ = ["stranger"]


# --- pid files ------------------------------------------------------------------------------------------------


def pid_file(tmp_path: Path, text: str) -> Any:
    process = make(PidFileProcess)
    process.pid_file = tmp_path / "it.pid"
    process.pid_file.write_text(text)
    return process


def test_pid_file_names_the_process(tmp_path: Path, stranger: Identity) -> None:
    assert pid_file(tmp_path, f"{stranger.pid}\nmore\n")._successor() == stranger


def test_stale_pid_file_with_a_recycled_pid_names_nobody(tmp_path: Path, stranger: Identity) -> None:
    process = pid_file(tmp_path, str(stranger.pid))
    long_ago_s = time.time() - stranger.uptime_s - 2
    os.utime(process.pid_file, (long_ago_s, long_ago_s))
    assert process._successor() is None


@pytest.mark.parametrize("text", ["", "\n", "x", "-1", "0", "1", "OWN PID", "999999999999999999999", "٤٢"])
def test_odd_pid_file_names_nobody(tmp_path: Path, text: str) -> None:
    text = text.replace("OWN PID", str(os.getpid()))  # not in the test's name, which must not change by run
    process = pid_file(tmp_path, text)
    assert process._successor() is None
    process.transition()
    assert log_of(process).errors == []


def test_missing_pid_file_names_nobody(tmp_path: Path) -> None:
    process = pid_file(tmp_path, "")
    process.pid_file.unlink()
    assert process._successor() is None
    process.pid_file.mkdir()
    assert process._successor() is None


@pytest.mark.parametrize("age_s", [0.0, STARTSECS + 0.5])
def test_launcher_whose_end_is_seen_late_still_counts_as_an_attempt(tmp_path: Path, age_s: float) -> None:
    process = pid_file(tmp_path, "")
    process.state, process.pid, process.backoff = ProcessStates.STARTING, 4242, 1
    process.laststart = time.time() - age_s
    process.finish(4242, 0)
    assert (process.state, process.backoff) == (ProcessStates.STARTING, 1)
    process._awaited_until_s = 0.0
    process._nobody_came()
    assert (process.state, process.backoff) == (ProcessStates.BACKOFF, 2)


def test_launcher_that_was_called_running_still_counts_as_an_attempt(tmp_path: Path) -> None:
    process = pid_file(tmp_path, "")
    for attempt in (1, 2, 3):
        process.state, process.pid = ProcessStates.STARTING, 4242
        process.laststart = time.time() - STARTSECS - 0.5
        process.transition()
        assert (process.state, process.backoff) == (ProcessStates.RUNNING, 0)
        process.finish(4242, 0)
        process._awaited_until_s = 0.0
        process._nobody_came()
        assert (process.state, process.backoff) == (ProcessStates.BACKOFF, attempt)
    process._fork = lambda: None
    process.spawn()  # an operator's start counts anew
    process.state, process.pid, process.laststart = ProcessStates.STARTING, 4242, time.time()
    process.finish(4242, 0)
    process.backoff = 0
    process._nobody_came()
    assert process.backoff == 1


def test_program_that_ran_long_is_no_launcher(tmp_path: Path) -> None:
    process = pid_file(tmp_path, "")
    process.state, process.pid = ProcessStates.RUNNING, 4242
    process.laststart = time.time() - STARTSECS - 60
    process.finish(4242, 0)
    assert process.state == ProcessStates.EXITED


def test_adopt_lines_are_read() -> None:
    here = Path("/etc/supervisor")
    text = "\n  nginx:/run/nginx.pid\n  my daemon : run/my.pid , third:x.pid\n"
    assert foreign.parse(text, here) == {
        "nginx": Path("/run/nginx.pid"),
        "my daemon": here / "run/my.pid",
        "third": here / "x.pid",
    }
    text = "group:it:x.pid\n it:run/a:b.pid\n other:/run/c:d.pid"
    assert foreign.parse(text, here) == {
        "group:it": here / "x.pid",
        "it": here / "run/a:b.pid",
        "other": Path("/run/c:d.pid"),
    }
    assert foreign.parse("", here) == {}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("nginx", "cannot read adopt = 'nginx': write NAME:PIDFILE"),
        (":/run/x.pid", "cannot read adopt = ':/run/x.pid'"),
        ("nginx:", "cannot read adopt = 'nginx:'"),
        ('nginx:"/run/x.pid"', "without quotes"),
        ("a:x.pid\na:y.pid", "cannot adopt 'a' twice"),
        ("a:x.pid\nb:a:./x.pid", "cannot adopt both 'a' and 'b:a' by /x.pid"),
        ("g::x.pid", "cannot read adopt = 'g::x.pid'"),
        (":a:x.pid", "cannot read adopt = ':a:x.pid'"),
    ],
)
def test_bad_adopt_line_is_refused(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match="adopt") as raised:
        foreign.parse(text, Path("/"))
    assert cause in str(raised.value)


def test_name_in_several_groups_is_refused_with_what_to_write() -> None:
    programs = [("a", "it"), ("b", "it"), ("b", "other")]
    assert foreign.program_of("other", programs) == ("b", "other")
    assert foreign.program_of("b:it", programs) == ("b", "it")
    assert foreign.program_of("c:it", programs) is None
    with pytest.raises(ValueError, match="the groups a and b each have one; write a:it:PIDFILE or b:it:PIDFILE"):
        foreign.program_of("it", programs)
