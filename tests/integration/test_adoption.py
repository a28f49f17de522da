"""Adoption, seen by the stock supervisorctl: who really runs is shown and commanded, whoever started it.

One cluster serves all tests here; each begins with everything up.
"""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from snsnode.node import budget, intent
from snsnode.node.config import PARTNERS, RoleName
from snsnode.node.lock import live_holder
from snsnode.node.process import is_alive, send_signal
from snsnode.supervisord.proxy import Program, Supervisor
from tests.cluster import BIN, Cluster, running
from tests.eventually import eventually
from tests.ports import free_port

pytestmark = pytest.mark.integration

VM = "vm2"
ROUTER_VM = "vm1"
WEB_PORT = free_port()
LOOP_S = 2.5  # supervisord's main loop turns once a second
STILL_S = 1.0  # ten looks of a partner


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with running(start=False) as cluster:
        with cluster.conf(VM).open("a") as conf:
            conf.write(f"\n[inet_http_server]\nport = 127.0.0.1:{WEB_PORT}\n")
        cluster.start()
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """The cluster with everything up."""
    if any(shared.process(VM, role) is None for role in (*PARTNERS, "spare")) or _intents(shared):
        shared.start()
    assert not _intents(shared)
    return shared


class Shown(NamedTuple):
    """A line of ``supervisorctl status``."""

    state: str
    pid: int
    uptime_s: int


def _shown(cluster: Cluster, role: RoleName, vm: str = VM) -> Shown:
    line = cluster.supervisorctl(vm, "status", role, code=None).stdout
    found = re.match(rf"{role} +([A-Z]+) +(?:pid (\d+), uptime (?:\d+ days?, )?(\d+):(\d+):(\d+))?", line)
    assert found, line
    state, pid, *clock = found.groups()
    hours, minutes, seconds = (int(part or 0) for part in clock)
    return Shown(state, int(pid or 0), hours * 3600 + minutes * 60 + seconds)


def _program(cluster: Cluster, role: RoleName, vm: str = VM) -> Program:
    return Supervisor(cluster.vm_dir(vm).supervisor_socket).programs()[role]


def _await_true(cluster: Cluster, *roles: RoleName, vm: str = VM) -> None:
    """Wait until supervisorctl shows the processes that really are ``roles``, and check what it says of them."""
    for role in roles:
        cluster.await_role(vm, role)
        _await_shown(cluster, role, vm)
        shown, holder = _shown(cluster, role, vm), live_holder(cluster.vm_dir(vm), role)
        assert holder is not None
        assert (shown.state, shown.pid) == ("RUNNING", holder.identity.pid)
        assert abs(shown.uptime_s - holder.uptime_s) <= 3  # in the role: a spare is a process long before
        assert cluster.supervisorctl(vm, "pid", role).stdout == f"{holder.identity.pid}\n"


def _await_shown(cluster: Cluster, role: RoleName, vm: str) -> None:
    def shown() -> bool:
        program = _program(cluster, role, vm)
        return (program.state, program.pid) == ("RUNNING", cluster.pid(vm, role))

    eventually(shown, LOOP_S)


def _stays(is_true: Callable[[], bool], for_s: float = STILL_S) -> None:
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        assert is_true()
        time.sleep(0.02)


def _stays_down(cluster: Cluster, *roles: RoleName | str) -> None:
    _stays(lambda: all(cluster.process(VM, role) is None for role in roles))


def _intents(cluster: Cluster) -> list[RoleName]:
    return [role for role in PARTNERS if intent.is_stopped(cluster.vm_dir(VM), role)]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _page(cluster: Cluster, query: str = "") -> str:
    """Return supervisord's web page as lines of text, after doing what ``query`` asks for."""
    with urllib.request.urlopen(f"http://127.0.0.1:{WEB_PORT}/index.html{query}", timeout=20) as answer:
        text = re.sub(r"<[^>]*>", " ", answer.read().decode())
    return " ".join(text.split())


# --- what status says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("victims", [("master",), ("slave",), ("master", "slave")], ids="+".join)
def test_killed_and_revived_processes_are_shown_as_they_are(
    cluster: Cluster, victims: tuple[RoleName, ...]
) -> None:
    before = {role: cluster.pid(VM, role) for role in PARTNERS}
    cluster.kill(VM, *victims)
    for role in PARTNERS:
        cluster.await_role(VM, role, other_than=before[role] if role in victims else 0)
    _await_true(cluster, *PARTNERS)
    assert all(cluster.pid(VM, role) == before[role] for role in PARTNERS if role not in victims)


def test_killed_one_after_the_other_they_are_shown_as_they_are(cluster: Cluster) -> None:
    for _ in range(2):
        for role in PARTNERS:
            (dead,) = cluster.kill(VM, role)
            cluster.await_role(VM, role, other_than=dead.pid)
    _await_true(cluster, *PARTNERS)


def test_frozen_master_without_a_slave_is_shown_and_stopped_at_once(cluster: Cluster) -> None:
    cluster.supervisorctl(VM, "stop", "slave")
    frozen = cluster.signal(VM, "master", signal.SIGSTOP)
    assert _shown(cluster, "master")[:2] == ("RUNNING", frozen.pid)
    begun_s = time.monotonic()
    assert cluster.supervisorctl(VM, "stop", "master").stdout == "master: stopped\n"
    assert time.monotonic() - begun_s < 5  # not stopwaitsecs, which are 10 s
    assert not is_alive(frozen)


def test_web_page_shows_who_really_runs_and_its_links_work(cluster: Cluster) -> None:
    (dead,) = cluster.kill(VM, "master")
    heir = cluster.await_role(VM, "master", other_than=dead.pid)
    assert f"running pid {heir}, uptime 0:00:0" in _page(cluster)  # the very next page, no loop later
    assert "Process master stopped" in _page(cluster, "?processname=master&action=stop")
    assert _intents(cluster) == ["master"]
    _stays_down(cluster, "master")
    assert re.search(r"stopped \w+ \d+ \d+:\d+ [AP]M master", _page(cluster))
    assert "Process master started" in _page(cluster, "?processname=master&action=start")
    assert "Process slave restarted" in _page(cluster, "?processname=slave&action=restart")
    _await_true(cluster, *PARTNERS)
    assert f"running pid {cluster.pid(VM, 'slave')}, uptime" in _page(cluster)


# --- stop and start ------------------------------------------------------------------------------------------


def test_stopped_master_stays_dead_and_start_lets_the_spare_take_over(cluster: Cluster) -> None:
    cluster.kill(VM, "master")
    cluster.await_role(VM, "master")
    spare = cluster.await_role(VM, "spare")
    adopted = cluster.process(VM, "master")
    assert cluster.supervisorctl(VM, "stop", "master").stdout == "master: stopped\n"
    assert adopted is not None and not is_alive(adopted)
    assert _shown(cluster, "master").state == "STOPPED"
    assert _intents(cluster) == ["master"]
    _stays_down(cluster, "master")
    assert cluster.supervisorctl(VM, "start", "master").stdout == "master: started\n"
    _await_true(cluster, "master")
    assert cluster.pid(VM, "master") == spare
    assert _parent(cluster.pid(VM, "master")) == cluster.pid(VM, "slave")


def test_stopped_slave_stays_down_though_its_master_lives(cluster: Cluster) -> None:
    slave, master = cluster.process(VM, "slave"), cluster.process(VM, "master")
    assert cluster.supervisorctl(VM, "stop", "slave").stdout == "slave: stopped\n"
    assert slave is not None and not is_alive(slave)
    cluster.await_gone(VM, "spare")
    _stays_down(cluster, "slave", "spare")
    assert cluster.process(VM, "master") == master
    assert _shown(cluster, "slave").state == "STOPPED"


def test_start_slave_clears_both_intents(cluster: Cluster) -> None:
    cluster.supervisorctl(VM, "stop", "master", "slave")
    assert sorted(_intents(cluster)) == ["master", "slave"]
    assert cluster.supervisorctl(VM, "start", "slave").stdout == "slave: started\n"
    assert _intents(cluster) == []
    _await_true(cluster, *PARTNERS)


def test_master_started_while_the_slave_is_stopped_runs_alone(cluster: Cluster) -> None:
    cluster.supervisorctl(VM, "stop", "master", "slave")
    assert cluster.supervisorctl(VM, "start", "master").stdout == "master: started\n"
    _await_true(cluster, "master")
    assert _intents(cluster) == ["slave"]
    _stays_down(cluster, "slave")


@pytest.mark.parametrize("what", ["slave", "master", "all"])
def test_restart_brings_up_new_processes(cluster: Cluster, what: str) -> None:
    cluster.kill(VM, "master", "slave")
    for role in PARTNERS:
        cluster.await_role(VM, role)
    before = {role: cluster.pid(VM, role) for role in PARTNERS}
    said = cluster.supervisorctl(VM, "restart", what).stdout
    assert "ERROR" not in said
    _await_true(cluster, *PARTNERS)
    for role in PARTNERS:
        assert (cluster.pid(VM, role) != before[role]) == (what in (role, "all"))


def test_stop_all_then_start_all(cluster: Cluster) -> None:
    said = cluster.supervisorctl(VM, "stop", "all").stdout
    assert sorted(said.splitlines()) == ["master: stopped", "slave: stopped"]
    _stays_down(cluster, *PARTNERS, "spare")
    said = cluster.supervisorctl(VM, "start", "all").stdout
    assert sorted(said.splitlines()) == ["master: started", "slave: started"]
    _await_true(cluster, *PARTNERS)
    assert _parent(cluster.pid(VM, "master")) == cluster.pid(VM, "slave")


def test_stop_while_the_slave_revives_the_master_wins(cluster: Cluster) -> None:
    cluster.kill(VM, "spare")
    cluster.kill(VM, "master")
    cluster.supervisorctl(VM, "stop", "master", code=None)  # "not running" where it was not even noticed
    assert _intents(cluster) == ["master"]
    cluster.await_gone(VM, "master")
    _stays_down(cluster, "master")


def test_start_of_what_runs_says_so(cluster: Cluster) -> None:
    cluster.kill(VM, "slave")
    cluster.await_role(VM, "slave")
    _await_true(cluster, "slave")
    before = cluster.pid(VM, "slave")
    assert "already started" in cluster.supervisorctl(VM, "start", "slave", code=None).stdout
    assert cluster.pid(VM, "slave") == before


def test_stop_intent_survives_supervisord(cluster: Cluster) -> None:
    cluster.supervisorctl(VM, "stop", "all")
    cluster.kill(VM, "supervisord")
    _start_supervisord(cluster)
    assert (_shown(cluster, "slave").state, _shown(cluster, "master").state) == ("STOPPED", "STOPPED")
    _stays_down(cluster, *PARTNERS, "spare")
    assert sorted(_intents(cluster)) == ["master", "slave"]


# --- logs and signals ----------------------------------------------------------------------------------------


def test_tail_shows_what_the_heirs_write(cluster: Cluster) -> None:
    command = [str(BIN / "supervisorctl"), "-c", str(cluster.conf(VM)), "tail", "-f", "slave"]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=False)
    assert following.stdout is not None
    try:
        (slave,) = cluster.kill(VM, "slave")
        heir = cluster.await_role(VM, "slave", other_than=slave.pid)
        (master,) = cluster.kill(VM, "master")
        cluster.await_role(VM, "master", other_than=master.pid)
        line = f"slave {VM} [{heir}] ".encode()
        eventually(lambda: line in cluster.vm_dir(VM).log("slave").read_bytes(), within_s=15)
        _read_until(following.stdout.fileno(), line, within_s=15)
        assert line in cluster.supervisorctl(VM, "tail", "slave").stdout.encode()
    finally:
        following.kill()
        following.communicate()


def _read_until(descriptor: int, wanted: bytes, within_s: float) -> None:
    read, until_s = b"", time.monotonic() + within_s
    while wanted not in read:
        left_s = until_s - time.monotonic()
        assert left_s > 0, f"{wanted!r} not in {read!r}"
        if select.select([descriptor], [], [], left_s)[0]:
            chunk = os.read(descriptor, 65536)
            assert chunk, read
            read += chunk


def test_signal_reaches_the_adopted_process(cluster: Cluster) -> None:
    cluster.kill(VM, "master")
    cluster.await_role(VM, "master")
    _await_true(cluster, "master")
    first = cluster.pid(VM, "master")
    assert cluster.supervisorctl(VM, "signal", "KILL", "master").stdout == "master: signalled\n"
    cluster.await_role(VM, "master", other_than=first)  # a signal is no stop
    _await_true(cluster, "master")


# --- update, reload, shutdown --------------------------------------------------------------------------------


@pytest.mark.parametrize("role", PARTNERS)
def test_update_restarts_a_changed_program(cluster: Cluster, role: RoleName) -> None:
    cluster.kill(VM, role)
    cluster.await_role(VM, role)
    before = cluster.pid(VM, role)
    conf = cluster.conf(VM)
    text = conf.read_text()
    try:
        conf.write_text(text.replace(f"[program:{role}]", f'[program:{role}]\nenvironment = ADDED="{role}"'))
        said = cluster.supervisorctl(VM, "update").stdout
        assert f"{role}: updated process group" in said
        cluster.await_role(VM, role, other_than=before)
        _await_true(cluster, *PARTNERS)
        assert _intents(cluster) == []
    finally:
        conf.write_text(text)
        cluster.supervisorctl(VM, "update")
    _await_true(cluster, *PARTNERS)


def test_update_leaves_stopped_what_an_operator_stopped(cluster: Cluster) -> None:
    cluster.supervisorctl(VM, "stop", "master")
    conf = cluster.conf(VM)
    text = conf.read_text()
    try:
        for role in PARTNERS:
            conf.write_text(text.replace(f"[program:{role}]", f'[program:{role}]\nenvironment = ADDED="{role}"'))
            cluster.supervisorctl(VM, "update")
            assert _intents(cluster) == ["master"]
    finally:
        conf.write_text(text)
        cluster.supervisorctl(VM, "update")
    _await_true(cluster, "slave")
    _stays_down(cluster, "master")


def test_reloads_restart_everything_stop_nothing_for_good_and_leave_no_descriptor(cluster: Cluster) -> None:
    supervisord = cluster.supervisord(VM)
    assert supervisord is not None
    for _ in range(3):
        cluster.kill(VM, "master", "slave")  # whom it reloads is adopted
        for role in PARTNERS:
            cluster.await_role(VM, role)
        _await_true(cluster, *PARTNERS)
        before = {role: cluster.pid(VM, role) for role in PARTNERS}
        assert cluster.supervisorctl(VM, "reload").stdout == "Restarted supervisord\n"
        for role in PARTNERS:
            cluster.await_role(VM, role, other_than=before[role])
        eventually(lambda: _answers(cluster), within_s=15)
        _await_true(cluster, *PARTNERS)
        assert cluster.supervisord(VM) == supervisord
        assert _intents(cluster) == []
        assert not [link for link in _open_files(supervisord.pid) if "memfd" in link or "/run/" in link]
    cluster.kill(VM, "master")  # adoption works in the last life too
    cluster.await_role(VM, "master")
    _await_true(cluster, "master")


def _open_files(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


@pytest.mark.parametrize("how", ["shutdown", "SIGTERM"])
def test_shutdown_ends_everything_and_records_no_intent(cluster: Cluster, how: str) -> None:
    cluster.kill(VM, "slave")
    cluster.await_role(VM, "slave")
    cluster.await_role(VM, "spare")
    supervisord = cluster.supervisord(VM)
    assert supervisord is not None
    if how == "shutdown":
        cluster.supervisorctl(VM, "shutdown")
    else:
        assert send_signal(supervisord, signal.SIGTERM)
    eventually(lambda: not is_alive(supervisord), within_s=8)
    eventually(lambda: not [c for c in cluster.processes().values() if f" {VM}" in c], within_s=8)
    assert _intents(cluster) == []
    _start_supervisord(cluster)
    _await_true(cluster, *PARTNERS)


# --- supervisord dies ----------------------------------------------------------------------------------------


def test_supervisord_killed_everything_goes_on_and_the_next_one_adopts_it(cluster: Cluster) -> None:
    before = {(vm, role): cluster.pid(vm, role) for vm, role in _everything()}
    cluster.kill(VM, "supervisord")
    cluster.kill(ROUTER_VM, "supervisord")
    time.sleep(1.1)  # so that an uptime that began with the adoption would be seen
    assert cluster.await_available() == VM
    for vm in (VM, ROUTER_VM):
        _start_supervisord(cluster, vm)
    for vm, role in _everything():
        _await_true(cluster, role, vm=vm)
    assert before == {(vm, role): cluster.pid(vm, role) for vm, role in _everything()}
    for vm, role in _everything():
        assert cluster.supervisorctl(vm, "restart", role).returncode == 0
        _await_true(cluster, role, vm=vm)
        assert cluster.pid(vm, role) != before[vm, role]


def test_adopted_router_that_dies_is_restarted_by_supervisord(cluster: Cluster) -> None:
    cluster.kill(ROUTER_VM, "supervisord")
    _start_supervisord(cluster, ROUTER_VM)
    _await_true(cluster, "router", vm=ROUTER_VM)
    (dead,) = cluster.kill(ROUTER_VM, "router")
    cluster.await_role(ROUTER_VM, "router", other_than=dead.pid)
    _await_true(cluster, "router", vm=ROUTER_VM)


def _everything() -> tuple[tuple[str, RoleName], ...]:
    return (ROUTER_VM, "router"), (VM, "slave"), (VM, "master")


def _start_supervisord(cluster: Cluster, vm: str = VM) -> None:
    subprocess.run([str(BIN / "supervisord"), "-c", str(cluster.conf(vm))], check=True, timeout=15)
    eventually(lambda: _answers(cluster, vm), within_s=15)


def _answers(cluster: Cluster, vm: str = VM) -> bool:
    return Supervisor(cluster.vm_dir(vm).supervisor_socket).is_running()


# --- everything dies at once ---------------------------------------------------------------------------------


def test_whole_pair_killed_with_its_spare_gets_a_new_first_launch(cluster: Cluster) -> None:
    spent = _restarts(cluster)
    victims = cluster.kill(VM, "slave", "master", "spare")
    cluster.await_role(VM, "slave", other_than=victims[0].pid)
    cluster.await_role(VM, "master", other_than=victims[1].pid)
    _await_true(cluster, *PARTNERS)
    assert _parent(cluster.pid(VM, "slave")) == getattr(cluster.supervisord(VM), "pid", 0)
    assert _restarts(cluster) == spent + 1  # out of the pair's own budget
    assert '"first-launch"' in cluster.vm_dir(VM).journal.read_text()


def test_spare_rescues_the_pair_when_even_supervisord_is_dead(cluster: Cluster) -> None:
    spare = cluster.pid(VM, "spare")
    victims = cluster.kill(VM, "supervisord", "slave", "master")
    assert cluster.await_role(VM, "master", other_than=victims[2].pid) == spare
    cluster.await_role(VM, "slave", other_than=victims[1].pid)
    assert cluster.await_available() == VM
    _start_supervisord(cluster)
    _await_true(cluster, *PARTNERS)
    assert cluster.pid(VM, "master") == spare


def test_frozen_spare_does_not_keep_the_pair_dead(cluster: Cluster) -> None:
    spare = cluster.signal(VM, "spare", signal.SIGSTOP)
    victims = cluster.kill(VM, "slave", "master")
    cluster.await_role(VM, "slave", other_than=victims[0].pid)
    assert not is_alive(spare)
    cluster.await_role(VM, "master")


def _restarts(cluster: Cluster) -> int:
    return budget.read(cluster.vm_dir(VM)).totals.get("slave", 0)


# --- crash loops ---------------------------------------------------------------------------------------------


def test_stop_in_backoff_works_and_lasts(cluster: Cluster) -> None:
    cluster.supervisorctl(VM, "stop", "master")
    with socket.create_server(("127.0.0.1", cluster.ports[VM])):
        Supervisor(cluster.vm_dir(VM).supervisor_socket).call("startProcess", "master", False)
        eventually(lambda: _program(cluster, "master").state == "BACKOFF", within_s=15)
        eventually(lambda: _stopped(cluster, "master"), within_s=15)
    _stays_down(cluster, "master")
    assert _shown(cluster, "master").state == "STOPPED"
    assert "started" in cluster.supervisorctl(VM, "start", "master").stdout
    _await_true(cluster, "master")


def _stopped(cluster: Cluster, role: RoleName) -> bool:
    return cluster.supervisorctl(VM, "stop", role, code=None).stdout == f"{role}: stopped\n"
