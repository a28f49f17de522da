"""Adopted programs that are several processes for a while; their events, exit codes and logs. One supervisord."""

import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snsnode.node.process import Identity, identify, is_alive
from snsnode.supervisord.proxy import Supervisor
from tests.eventually import eventually
from tests.integration.test_supervisord_foreign import Somebody

pytestmark = pytest.mark.integration

CTL = "supervisorctl -c supervisord.conf"
CONF = """
[supervisord]
directory = %(here)s
logfile = %(here)s/supervisord.log
pidfile = %(here)s/run/supervisord.pid
[unix_http_server]
file = %(here)s/run/supervisor.sock
[supervisorctl]
serverurl = unix://%(here)s/run/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = snsnode.supervisord.plugin:make_rpcinterface
adopt =
    ticker:run/ticker.pid
    web:run/web.pid
    two:same:run/same.pid
[program:ticker]
command = "%(here)s/ticker"
autostart = false
autorestart = unexpected
stdout_logfile = %(here)s/ticker.log
[program:web]
command = "%(here)s/web"
autostart = false
stdout_logfile = %(here)s/web.log
redirect_stderr = true
stopwaitsecs = 3
[program:same-one]
command = sleep 600
process_name = same
autostart = false
[program:same-two]
command = sleep 600
process_name = same
autostart = false
[group:one]
programs = same-one
[group:two]
programs = same-two
[eventlistener:listener]
command = "%(here)s/listener"
events = PROCESS_STATE
"""
# A daemon: it writes into its log by itself, and ends with the code in a file, once there is one.
TICKER = """#!/bin/sh
cd "$(dirname "$0")" || exit
setsid sh -c 'sleep "${LATE:-0.1}"; echo $$ > run/ticker.pid; exec >> ticker.log 2>&1
while [ ! -s code ]; do echo tick; sleep 0.05; done; exec sh -c "exit $(cat code)"' < /dev/null > /dev/null 2>&1 &
"""
# A server in the foreground, whose binary is upgraded by SIGUSR2: a new one beside it, in the same pid file.
WEB = """#!/bin/sh
cd "$(dirname "$0")" || exit
echo $$ > run/web.pid
trap './web &' USR2
trap 'exit 0' TERM
while :; do echo serving $$; sleep 0.05; done
"""
LISTENER = """#!/bin/sh
cd "$(dirname "$0")" || exit
printf 'READY\\n'
while read -r header; do
    length=${header##*len:}
    payload=$(head -c "$length")
    case $payload in *groupname:listener*) ;; *) echo "${header##*eventname:} $payload" >> events ;; esac
    printf 'RESULT 2\\nOKREADY\\n'
done
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Somebody]:
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        somebody = Somebody(Path(folder))
        somebody.write(CONF)
        for name, text in (("ticker", TICKER), ("web", WEB), ("listener", LISTENER)):
            (somebody.folder / name).write_text(text)
            (somebody.folder / name).chmod(0o700)
        try:
            somebody.start()
            somebody.shows(f"{CTL} status listener", "RUNNING")
            yield somebody
            somebody.run(f"{CTL} shutdown")
            eventually(lambda: not somebody.processes(), within_s=15)
            assert "snsnode:" not in (somebody.folder / "supervisord.log").read_text()
        finally:
            somebody.end_all()


@pytest.fixture
def somebody(shared: Somebody) -> Iterator[Somebody]:
    (shared.folder / "events").write_text("")
    (shared.folder / "code").unlink(missing_ok=True)
    yield shared
    shared.run(f"{CTL} stop ticker web one:same two:same")
    eventually(lambda: len(shared.processes()) == 2, within_s=15)  # supervisord and its listener


def _started(somebody: Somebody, name: str) -> Identity:
    somebody.shows(f"{CTL} start {name}", f"{name}: started")
    return _named(somebody, name)


def _named(somebody: Somebody, name: str, other_than: Identity | None = None) -> Identity:
    """Wait until supervisorctl names the process of the pid file, and return it."""

    def named() -> Identity:
        pid = int((somebody.folder / "run" / f"{name}.pid").read_text() or "0")
        info = _info(somebody, name)
        assert (info["statename"], info["pid"]) == ("RUNNING", pid)
        found = identify(pid)
        assert found is not None and found != other_than
        return found

    return eventually(named, within_s=10)


def _info(somebody: Somebody, name: str) -> Any:
    return Supervisor(somebody.folder / "run" / "supervisor.sock").call("getProcessInfo", name)


def _states(somebody: Somebody, name: str, last: str) -> list[str]:
    """Return the states that listeners were told, and of the end whether it was expected."""

    def told() -> list[str]:
        lines = [line for line in (somebody.folder / "events").read_text().splitlines() if f":{name} " in line]
        found = [re.sub(r"PROCESS_STATE_(\w+) .*?(?:expected:(\d).*)?$", r"\1\2", line) for line in lines]
        assert found and found[-1].startswith(last), found
        return found

    return eventually(told, within_s=10)


# --- launchers and ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", ["0", "0.6"])
def test_launcher_that_ends_is_starting_and_then_running(somebody: Somebody, late: str) -> None:
    ticker = somebody.folder / "ticker"
    log = somebody.folder / "supervisord.log"
    log_before = len(log.read_text())
    ticker.write_text(TICKER.replace("${LATE:-0.1}", late))
    _started(somebody, "ticker")
    assert _states(somebody, "ticker", "RUNNING") == ["STARTING", "RUNNING"]
    assert "WARN" not in log.read_text()[log_before:]
    somebody.shows(f"{CTL} stop ticker", "ticker: stopped")
    assert _states(somebody, "ticker", "STOPPED") == ["STARTING", "RUNNING", "STOPPING", "STOPPED"]


@pytest.mark.parametrize(("code", "expected"), [(0, 1), (7, 0)])
def test_end_of_an_adopted_program_is_told_with_its_code(somebody: Somebody, code: int, expected: int) -> None:
    first = _started(somebody, "ticker")
    (somebody.folder / "code").write_text(str(code))
    told = _states(somebody, "ticker", "EXITED")
    assert told[:3] == ["STARTING", "RUNNING", f"EXITED{expected}"]
    if expected:
        info = _info(somebody, "ticker")
        assert (info["statename"], info["exitstatus"], info["spawnerr"]) == ("EXITED", code, "")
    else:
        (somebody.folder / "code").unlink()
        assert _named(somebody, "ticker", other_than=first) != first  # autorestart = unexpected


# --- one beside the other ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["web", "ticker"])  # its own child, and an adopted daemon
def test_second_process_is_followed_and_a_stop_ends_both(somebody: Somebody, name: str) -> None:
    log = somebody.folder / "supervisord.log"
    log_before = len(log.read_text())
    first = _started(somebody, name)
    if name == "web":
        somebody.shows(f"{CTL} signal USR2 web", "web: signalled")
    else:
        somebody.run("./ticker")
    second = _named(somebody, name, other_than=first)
    assert is_alive(first) and is_alive(second)
    somebody.shows(f"{CTL} stop {name}", f"{name}: stopped")
    assert not is_alive(first) and not is_alive(second)
    assert _states(somebody, name, "STOPPED") == ["STARTING", "RUNNING", "STOPPING", "STOPPED"]
    assert "SIGKILL" not in log.read_text()[log_before:]  # each was asked to end, and did


def test_first_process_ends_and_the_second_goes_on(somebody: Somebody) -> None:
    first = _started(somebody, "web")
    os.kill(first.pid, signal.SIGUSR2)
    second = _named(somebody, "web", other_than=first)
    os.kill(first.pid, signal.SIGTERM)
    eventually(lambda: not is_alive(first), within_s=10)
    somebody.shows(f"{CTL} status web", f"RUNNING +pid {second.pid},")
    log = somebody.folder / "web.log"
    size = log.stat().st_size
    eventually(lambda: log.stat().st_size > size, within_s=10)  # its output, by the first one's pipe, is read on
    assert _states(somebody, "web", "RUNNING") == ["STARTING", "RUNNING"]
    somebody.shows(f"{CTL} restart web", "web: started")
    third = _named(somebody, "web", other_than=second)
    assert not is_alive(second)
    os.kill(third.pid, signal.SIGKILL)
    assert _states(somebody, "web", "EXITED")[-1] == "EXITED0"


def test_upgrade_that_fails_leaves_the_first_process(somebody: Somebody) -> None:
    first = _started(somebody, "web")
    os.kill(first.pid, signal.SIGUSR2)
    second = _named(somebody, "web", other_than=first)
    os.kill(second.pid, signal.SIGKILL)
    somebody.shows(f"{CTL} status web", f"RUNNING +pid {first.pid},")
    os.kill(first.pid, signal.SIGTERM)
    assert _states(somebody, "web", "EXITED") == ["STARTING", "RUNNING", "EXITED1"]
    assert _info(somebody, "web")["exitstatus"] == 0


def test_update_ends_both_and_starts_one(somebody: Somebody) -> None:
    first = _started(somebody, "ticker")
    somebody.run("./ticker")
    second = _named(somebody, "ticker", other_than=first)
    somebody.write(CONF.replace("autorestart = unexpected", "autorestart = unexpected\nenvironment = A=1"))
    somebody.shows(f"{CTL} update ticker", "ticker: updated process group")
    assert not is_alive(first) and not is_alive(second)
    somebody.write(CONF)
    somebody.shows(f"{CTL} update ticker", "ticker: updated process group")


def test_stop_returns_though_somebody_starts_it_again_and_again(somebody: Somebody) -> None:
    _started(somebody, "web")
    respawner = somebody.folder / "respawner"
    respawner.write_text(
        'while [ -e respawner ]; do kill -0 "$(cat run/web.pid)" 2> /dev/null || { ./web > /dev/null 2>&1 & }; '
        "sleep 0.1; done\n"
    )
    somebody.run("setsid sh respawner > /dev/null 2>&1 &")
    somebody.shows(f"{CTL} stop web", "web: stopped")
    _named(somebody, "web")  # and then it tells what is so
    respawner.unlink()
    time.sleep(0.2)
    somebody.shows(f"{CTL} stop web", "web: stopped")


# --- names -----------------------------------------------------------------------------------------------------


def test_group_tells_which_of_two_programs_is_meant(somebody: Somebody) -> None:
    for group in ("one", "two"):
        somebody.shows(f"{CTL} start {group}:same", f"{group}:same: started")
    other = somebody.run("setsid sleep 600 > /dev/null 2>&1 & echo $! > run/same.pid; cat run/same.pid")[1].strip()
    somebody.shows(f"{CTL} status two:same", f"RUNNING +pid {other},")
    assert _info(somebody, "one:same")["pid"] != int(other)
    somebody.shows(f"{CTL} stop two:same", "two:same: stopped")
    somebody.shows(f"{CTL} status one:same", "RUNNING")


# --- logs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["clear {}", "clear all", "page"])
@pytest.mark.parametrize("name", ["web", "ticker"])
def test_cleared_log_goes_on_where_one_sees_it(somebody: Somebody, name: str, how: str) -> None:
    _started(somebody, name)
    log = somebody.folder / f"{name}.log"
    eventually(lambda: log.stat().st_size > 0, within_s=10)
    inode = log.stat().st_ino
    log.write_text("old\n" * 1000)  # in place
    supervisor = Supervisor(somebody.folder / "run" / "supervisor.sock")
    if how == "page":
        assert supervisor.call("clearProcessLog", name) is True
    else:
        somebody.shows(f"{CTL} {how.format(name)}", f"{name}: cleared")
    eventually(lambda: 0 < log.stat().st_size < 4000, within_s=10)
    assert log.stat().st_ino == inode
    assert "old" not in log.read_text()
    somebody.shows(f"{CTL} tail {name}", "serving|tick")


def test_main_log_is_cleared_in_place(somebody: Somebody) -> None:
    log = somebody.folder / "supervisord.log"
    inode = log.stat().st_ino
    assert Supervisor(somebody.folder / "run" / "supervisor.sock").call("clearLog") is True
    assert log.stat().st_ino == inode
    somebody.shows(f"{CTL} start web", "started")
    somebody.shows(f"{CTL} maintail", "spawned: 'web'")
