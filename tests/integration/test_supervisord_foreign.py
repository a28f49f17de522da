"""The plug-in in a supervisord that is not ours: the page docs/adoption.md is true, and bad values are refused."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snsnode.node.process import identify, send_signal
from tests.cluster import BIN
from tests.eventually import eventually

pytestmark = pytest.mark.integration

PAGE = (Path(__file__).parents[2] / "docs" / "adoption.md").read_text()
SHOWN_WITHIN_S = 8.0


class Somebody:
    """Somebody with a supervisord of their own, in a folder with the files of the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid_file = folder / "run" / "ticker.pid"
        self.pid_file.parent.mkdir()
        self.write(_block("ini"))
        ticker = folder / "ticker"
        ticker.write_text(_block("sh"))
        ticker.chmod(0o700)

    def write(self, text: str) -> None:
        (self.folder / "supervisord.conf").write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def run(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout

    def start(self) -> None:
        assert self.run("supervisord -c supervisord.conf")[0] == 0

    def shows(self, command: str, pattern: str, code: int = 0) -> None:
        """Run ``command``, again and again if it only looks, until its output has ``pattern``."""

        def is_so() -> bool:
            got, said = self.run(command)
            assert (got, bool(re.search(pattern, said))) == (code, True), f"{command}\n{said}"
            return True

        looks = any(word in command for word in (" status ", " pid "))
        eventually(is_so, SHOWN_WITHIN_S if looks else 0, every_s=0.1)

    def ticker(self) -> int:
        """Return the pid that the pid file names."""
        return int(self.pid_file.read_text() or "0")

    def processes(self) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                where = str((process / "cwd").readlink())
            except OSError:
                continue
            if where.startswith(str(self.folder)):
                found.append(int(process.name))
        return found

    def end_all(self) -> None:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in self.processes():
                identity = identify(pid)
                if identity is not None:
                    send_signal(identity, number)
        eventually(lambda: not self.processes(), within_s=15)


def _block(kind: str) -> str:
    """Return the page's last block of ``kind``: for ini, the whole file and not the lines that it is about."""
    return str(re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[-1])


@pytest.fixture
def somebody() -> Iterator[Somebody]:
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        somebody = Somebody(Path(folder))
        try:
            yield somebody
            somebody.run("supervisorctl -c supervisord.conf shutdown")
            eventually(lambda: not somebody.processes(), within_s=10)
        finally:
            somebody.end_all()


def test_the_lines_of_the_page_are_in_its_whole_file() -> None:
    lines = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    assert lines in _block("ini")


def test_commands_of_the_page_do_what_it_says(somebody: Somebody) -> None:
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for part in (part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]):
        command, *expected = part.splitlines()
        code = int(match[1]) if (match := re.search(r"# exit (\d+)$", command)) else 0
        pattern = r".*\n".join(re.sub(r"\d+", r"\\d+", re.escape(line.strip())) for line in expected)
        # Any number of spaces, any date.
        somebody.shows(
            command, re.sub(r"(\\ )+", r"\\s+", pattern).replace("Nov", r"\w+").replace("PM", "[AP]M"), code
        )


def test_daemon_that_dies_is_restarted_once(somebody: Somebody) -> None:
    somebody.start()
    somebody.shows("supervisorctl -c supervisord.conf status ticker", "RUNNING")
    first = somebody.ticker()
    os.kill(first, signal.SIGKILL)
    second = eventually(lambda: somebody.ticker() if somebody.ticker() not in (0, first) else 0, SHOWN_WITHIN_S)
    somebody.shows("supervisorctl -c supervisord.conf status ticker", f"RUNNING +pid {second},")
    assert len(somebody.processes()) == 2  # supervisord and one daemon
    log = (somebody.folder / "supervisord.log").read_text()
    assert "snsnode:" not in log


def test_daemon_that_restarts_itself_is_not_started_again(somebody: Somebody) -> None:
    somebody.start()
    somebody.shows("supervisorctl -c supervisord.conf status ticker", "RUNNING")
    log = somebody.folder / "supervisord.log"
    spawned = log.read_text().count("spawned")
    first = somebody.ticker()
    somebody.run(f"kill {first}; sleep 1.2; ./ticker")  # a successor that takes its time
    second = eventually(lambda: somebody.ticker() if somebody.ticker() not in (0, first) else 0, SHOWN_WITHIN_S)
    somebody.shows("supervisorctl -c supervisord.conf status ticker", f"RUNNING +pid {second},")
    time.sleep(1.2)
    assert log.read_text().count("spawned") == spawned
    assert somebody.ticker() == second


def test_stale_pid_file_does_not_make_a_victim(somebody: Somebody) -> None:
    with subprocess.Popen(["sleep", "60"]) as victim:
        somebody.pid_file.write_text(f"{victim.pid}\n")
        long_ago_s = time.time() - 3600
        os.utime(somebody.pid_file, (long_ago_s, long_ago_s))
        somebody.write(_block("ini") + "autostart = false\n")
        somebody.start()
        somebody.shows("supervisorctl -c supervisord.conf status ticker", "STOPPED +Not started", 3)
        somebody.run("supervisorctl -c supervisord.conf stop ticker")
        somebody.run("supervisorctl -c supervisord.conf shutdown")
        eventually(lambda: not somebody.processes(), within_s=15)
        assert victim.poll() is None
        victim.kill()


def test_launcher_that_leaves_no_daemon_behind_backs_off(somebody: Somebody) -> None:
    somebody.write(_block("ini").replace('"%(here)s/ticker"', "true") + "startretries = 1\n")
    somebody.start()
    somebody.shows("supervisorctl -c supervisord.conf status ticker", "STARTING")
    pattern = r"BACKOFF +it ended, and \S+/run/ticker.pid names no live process"
    somebody.shows("supervisorctl -c supervisord.conf status ticker", pattern)
    log = somebody.folder / "supervisord.log"
    eventually(lambda: "gave up: ticker" in log.read_text(), within_s=20)
    assert log.read_text().count("spawned") >= 2  # more, where a starved supervisord took an end for a success


def test_programs_that_only_share_our_names_are_left_alone(somebody: Somebody) -> None:
    somebody.write(_block("ini") + "[program:master]\ncommand = sleep 600\n")
    somebody.start()
    somebody.shows("supervisorctl -c supervisord.conf status master", "RUNNING")
    somebody.shows("supervisorctl -c supervisord.conf stop master", "stopped")
    somebody.shows("supervisorctl -c supervisord.conf start master", "started")
    assert sorted(path.name for path in somebody.folder.iterdir() if path.is_dir()) == ["run"]
    assert {path.name for path in somebody.pid_file.parent.iterdir()} <= {
        "supervisord.pid",
        "supervisor.sock",
        "ticker.pid",
    }


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (
            "adopt = ticker",
            "cannot read adopt = 'ticker': write NAME:PIDFILE or GROUP:NAME:PIDFILE, without quotes",
        ),
        (
            "adopt =\n    a:x.pid\n    b:x.pid",
            "cannot adopt both 'a' and 'b' by {here}/x.pid: it names one process",
        ),
        (
            "adopt = ticker:x.pid\n[program:other]\nprocess_name=ticker\ncommand=sleep 600",
            "cannot adopt 'ticker': the groups other and ticker each have one; "
            "write other:ticker:PIDFILE or ticker:ticker:PIDFILE",
        ),
        ("adopt =\n    ticker:x.pid\n    ticker:ticker:y.pid", "cannot adopt 'ticker:ticker' twice"),
        ("adopt =\n    a:x.pid\n    a:y.pid", "cannot adopt 'a' twice: give it one pid file"),
        (
            "adopts = ticker:a.pid",
            "cannot take the key 'adopts' of [rpcinterface:supervisor]: snsnode knows adopt",
        ),
    ],
)
def test_bad_value_is_refused_when_supervisord_starts(somebody: Somebody, lines: str, complaint: str) -> None:
    somebody.write(re.sub(r"adopt =\n.*\n", lines + "\n", _block("ini")))
    wanted = f"Error: {complaint.format(here=somebody.folder)}"
    code, said = somebody.run("supervisord -c supervisord.conf")
    assert (code, len(said.strip().splitlines())) == (78, 1)
    assert wanted in said
    code, said = somebody.run("supervisord -n -c supervisord.conf")
    assert code == 78
    assert [line for line in said.splitlines() if wanted in line]
    assert not [word for word in ("Traceback", "rpc interface", "For help") if word in said]
    assert somebody.processes() == []


def test_name_that_is_not_configured_is_a_warning(somebody: Somebody) -> None:
    somebody.write(_block("ini").replace("    ticker:", "    tikcer:x.pid\n    ticker:"))
    somebody.start()
    warning = "snsnode: adopt names the program 'tikcer', which is not configured"
    assert warning in (somebody.folder / "supervisord.log").read_text()
    somebody.shows("supervisorctl -c supervisord.conf status ticker", "RUNNING")
