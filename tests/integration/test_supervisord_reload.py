"""A supervisord with the plug-in is reloaded again and again, wherever and however it was started."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snsnode.node.process import identify, send_signal
from tests.eventually import eventually
from tests.integration.test_supervisord_foreign import Somebody

pytestmark = pytest.mark.integration

PLAIN = """
[supervisord]
directory = %(here)s/work
logfile = {here}logs/main.log
pidfile = {here}run/supervisord.pid
childlogdir = {here}logs
[unix_http_server]
file = {here}run/supervisor.sock
[supervisorctl]
serverurl = unix://%(here)s/run/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = snsnode.supervisord.plugin:make_rpcinterface
adopt =
    ticker:run/ticker.pid
[program:ticker]
command = "%(here)s/ticker"
autorestart = true
[include]
files = more/*.conf
"""
INCLUDED = "[program:more]\ncommand = sleep 600\n"
CTL = "supervisorctl -c supervisord.conf"


@pytest.fixture
def somebody() -> Iterator[Somebody]:
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        somebody = Somebody(Path(folder))
        for name in ("work", "logs", "more"):
            (somebody.folder / name).mkdir()
        (somebody.folder / "more" / "more.conf").write_text(INCLUDED)
        somebody.write(PLAIN.format(here="%(here)s/"))
        try:
            yield somebody
            somebody.run(f"{CTL} shutdown")
            eventually(lambda: not somebody.processes(), within_s=15)
        finally:
            somebody.end_all()


def _pid(somebody: Somebody) -> int:
    return int((somebody.folder / "run" / "supervisord.pid").read_text())


def _lives(somebody: Somebody) -> int:
    return (somebody.folder / "logs" / "main.log").read_text().count("supervisord started with pid")


def _await_next_life(somebody: Somebody, lives: int) -> None:
    eventually(lambda: _lives(somebody) > lives, within_s=15)
    somebody.shows(f"{CTL} status ticker", "RUNNING")


def _open_files(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(re.sub(r"supervisor-\w+\.log|\d+", "", str(link.readlink())))  # names that chance gave
        except FileNotFoundError:
            continue  # a client's connection that was just closed
    return sorted(found)


def test_reloads_close_what_they_opened_and_nothing_else(somebody: Somebody) -> None:
    somebody.start()
    somebody.shows(f"{CTL} status ticker", "RUNNING")
    pid = _pid(somebody)
    quiet = eventually(lambda: _quiet(pid), within_s=10)
    for how in ("reload", "SIGHUP", "reload"):
        lives = _lives(somebody)
        with socket.socket(socket.AF_UNIX) as client:  # as "tail -f" or a page that keeps its connection
            client.connect(str(somebody.folder / "run" / "supervisor.sock"))
            client.sendall(b"GET / HTTP/1.1\r\n")
            client.settimeout(15)
            if how == "reload":
                somebody.shows(f"{CTL} reload", "Restarted supervisord")
            else:
                os.kill(pid, signal.SIGHUP)
            assert client.recv(1) == b""  # it is told that this connection ends
        _await_next_life(somebody, lives)
        assert _pid(somebody) == pid
        eventually(lambda: _same(_steady(pid), quiet), within_s=10)
    assert "snsnode:" not in (somebody.folder / "logs" / "main.log").read_text()


def _quiet(pid: int) -> list[str]:
    """Return the open files once no client is connected: two looks agree."""
    before = _steady(pid)
    time.sleep(0.2)
    return before if before == _steady(pid) else []


def _steady(pid: int) -> list[str]:
    """Return the open files without the launcher's output.

    Where the pid file named the daemon before supervisord saw the launcher end, its daemon has inherited that, and
    supervisord reads on.
    """
    files = _open_files(pid)
    output = [name for name in files if "/logs/ticker-" in name]
    for name in (*output, *["pipe:[]"] * 3 * bool(output)):
        files.remove(name)
    return files


@pytest.mark.parametrize(
    ("start", "here"),
    [
        ("supervisord -c supervisord.conf", ""),
        ("supervisord", ""),  # it looks for the file by itself
        ("cd work && supervisord --configuration=../supervisord.conf", "../"),
        ("supervisord -csupervisord.conf -l logs/main.log -j run/supervisord.pid -d work -q logs", "%(here)s/"),
    ],
)
def test_relative_paths_mean_the_same_in_each_life(somebody: Somebody, start: str, here: str) -> None:
    somebody.write(PLAIN.format(here=here))
    code, said = somebody.run(start)
    assert code == 0, said
    somebody.shows(f"{CTL} status ticker", "RUNNING")
    pid = _pid(somebody)
    for signum in (0, signal.SIGHUP):
        somebody.shows(f"{CTL} reread", "No config updates")
        (somebody.folder / "more" / f"new{signum}.conf").write_text(f"[program:new{signum}]\ncommand=sleep 600\n")
        somebody.shows(f"{CTL} update", f"new{signum}: added process group")
        somebody.shows(f"{CTL} maintail", "spawned: 'more'")
        lives = _lives(somebody)
        if signum:
            os.kill(pid, signum)
        else:
            somebody.shows(f"{CTL} reload", "Restarted supervisord")
        _await_next_life(somebody, lives)
        assert _pid(somebody) == pid
        assert Path(f"/proc/{pid}/cwd").readlink() == somebody.folder / "work"
        somebody.shows(f"{CTL} status new{signum}", "RUNNING")
    assert list((somebody.folder / "work").iterdir()) == []


def test_foreground_from_another_folder_reloads(somebody: Somebody) -> None:
    command = ["supervisord", "-n", "-c", os.path.relpath(somebody.folder / "supervisord.conf", "/")]
    with subprocess.Popen(command, cwd="/", env=somebody.environment, stdout=subprocess.DEVNULL) as supervisord:
        somebody.shows(f"{CTL} status ticker", "RUNNING")
        lives = _lives(somebody)
        somebody.shows(f"{CTL} reload", "Restarted supervisord")
        _await_next_life(somebody, lives)
        assert _pid(somebody) == supervisord.pid
        identity = identify(supervisord.pid)
        assert identity is not None and send_signal(identity, signal.SIGTERM)
        supervisord.wait(timeout=15)


def test_start_folder_that_is_gone_does_not_keep_supervisord_from_its_next_life(somebody: Somebody) -> None:
    gone = (
        somebody.folder / "so" / "gone"
    )  # deeper than where it works: the relative path leads nowhere from there
    gone.mkdir(parents=True)
    assert somebody.run("cd so/gone && supervisord -c ../../supervisord.conf")[0] == 0
    somebody.shows(f"{CTL} status ticker", "RUNNING")
    gone.rmdir()
    lives = _lives(somebody)
    somebody.shows(f"{CTL} reload", "Restarted supervisord")
    _await_next_life(somebody, lives)


def _same(found: list[str], expected: list[str]) -> bool:
    assert found == expected
    return True
