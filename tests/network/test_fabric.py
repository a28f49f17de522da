"""The networks themselves: what is cut is silent, both make the same of it, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bounds import children
from tests.eventually import eventually
from tests.network import choice, namespaces
from tests.network.cluster import make_fabric
from tests.network.fabric import Fabric
from tests.network.proxies import Proxies

pytestmark = [pytest.mark.chaos, pytest.mark.both_networks]

ROOT = Path(__file__).parents[2]
STEP_S = 10.0
HEALED_WITHIN_S = 20.0  # TCP waits twice as long before each repetition
SILENT = {"sent": "silent", "opened": "silent"}
WELL = {"sent": "echoed", "opened": "open"}
HOLDS = """
import sys
from tests.network.namespaces import Namespaces
with Namespaces(["a", "b"]) as network:
    print(*(holder.pid for holder in network._holders.values()), flush=True)
    sys.stdin.read()
"""


def run(fabric: Fabric, vm: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        fabric.command(vm, [sys.executable, str(Path(__file__).with_name("wire.py")), *arguments]),
        env=os.environ | dict(fabric.environment(vm)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


class Caller:
    """``wire.py call`` on a VM."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lines = 0

    def try_both(self) -> Any:
        """Return what became of a line over the old connection, and of a new connection."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._lines += 1
        self._process.stdin.write(f"line {self._lines}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def calling(fabric: Fabric) -> Iterator[Caller]:
    """Let ``a`` call a server on ``b``."""
    port = fabric.port("b", "master")
    with run(fabric, "b", "serve", fabric.address("b"), str(port)) as server:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        with run(fabric, "a", "call", f"{fabric.address('b')}:{port}") as caller:
            try:
                yield Caller(caller)
            finally:
                caller.communicate(timeout=STEP_S)
                server.communicate(timeout=STEP_S)


@pytest.fixture
def fabric(kind: str, tmp_path: Path) -> Iterator[Fabric]:
    with make_fabric(kind, ["a", "b", "c"], tmp_path) as made:
        yield made


@pytest.mark.parametrize("what", ["a-to-b", "b-to-a", "a-vanished", "b-vanished"])
def test_what_is_cut_is_silent_and_goes_on_when_it_is_healed(fabric: Fabric, what: str) -> None:
    """No reset, no refusal: whoever is told something at once is not tested against silence."""
    with calling(fabric) as caller:
        assert caller.try_both() == WELL
        if what.endswith("vanished"):
            fabric.vanish(what[0])
        else:
            fabric.cut(what[0], what[-1])
        assert caller.try_both() == SILENT
        assert caller.try_both() == SILENT
        if what.endswith("vanished"):
            fabric.come_back(what[0])
        else:
            fabric.heal(what[0], what[-1])
        eventually(lambda: caller.try_both() == WELL, HEALED_WITHIN_S)


def test_links_of_others_are_not_touched(fabric: Fabric) -> None:
    """A cut between two VMs is theirs alone."""
    with calling(fabric) as caller:
        fabric.vanish("c")
        assert caller.try_both() == WELL
        fabric.come_back("c")


def test_network_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    """Also where a test failed in the middle."""
    interfaces = interfaces_here()
    with pytest.raises(ZeroDivisionError), make_fabric(kind, ["a", "b"], tmp_path) as made:
        with calling(made) as caller:
            assert caller.try_both() == WELL
        made.vanish("b")
        raise ZeroDivisionError
    assert interfaces_here() == interfaces
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("network")]
    assert not children()


def interfaces_here() -> list[str]:
    return sorted(line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:])


@pytest.mark.needs_namespaces
def test_namespaces_of_a_run_that_was_killed_are_gone(kind: str) -> None:
    """There is nothing to remove at the next start: their holders end with their input."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run_of_tests:
        assert run_of_tests.stdout is not None
        holders = [int(pid) for pid in run_of_tests.stdout.readline().split()]
        assert len(holders) == 3
        run_of_tests.send_signal(signal.SIGKILL)
    eventually(lambda: not [pid for pid in holders if Path(f"/proc/{pid}/ns/net").exists()], STEP_S)


@pytest.mark.needs_proxies
def test_proxies_can_also_be_slow_and_break_connections(kind: str, tmp_path: Path) -> None:
    with Proxies(["a", "b"], tmp_path) as proxies, calling(proxies) as caller:
        proxies.delay("b", "a", 2.0)
        assert caller.try_both() == {"sent": "silent", "opened": "open"}
        proxies.delay("b", "a", 0.0)
        eventually(lambda: caller.try_both() == WELL, HEALED_WITHIN_S)
        proxies.reset("a", "b")
        assert caller.try_both()["sent"] in ("ended", "ConnectionResetError", "BrokenPipeError")


def test_where_ip_is_missing_everything_runs_through_proxies_and_the_headline_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(choice.FORCE, raising=False)
    monkeypatch.delenv("NETWORK_TESTS_OBSTACLE", raising=False)
    monkeypatch.setattr(namespaces, "_PATH", "/nowhere")
    assert choice.kinds(on_both=False) == choice.kinds(on_both=True) == ("proxies",)
    assert "proxies, because there is no ip" in choice.headline()
    assert "iproute2" in choice.headline()


@pytest.mark.parametrize("forced", ["namespaces", "proxies"])
def test_environment_forces_either(forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.FORCE, forced)
    assert choice.kinds(on_both=True) == choice.kinds(on_both=False) == (forced,)
    assert forced in choice.headline()
