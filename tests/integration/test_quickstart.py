"""``bin/quickstart`` and ``bin/test``, in a clone with a space in its name, from another folder, without network.

The clone's .venv is made as an installation leaves it, and stamped: then pip is not needed.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FINGERPRINT = 'root="$PWD"; venv="$root/.venv"; . bin/setup-venv; fingerprint > .venv/.installed'


class Clone:
    """A clone with ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder, servers=2)
        self.folder = folder
        for name in ("bin", "conf"):
            shutil.copytree(ROOT / name, folder / name)
        for name in ("setup.cfg", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        spec = folder / "conf" / "local.yaml"
        text = spec.read_text()
        for vm, port in (("vm1", "3010"), ("vm2", "3020"), ("vm3", "3030")):
            text = text.replace(port, str(self.cluster.ports[vm]))
        spec.write_text(text)

    def install(self) -> None:
        """Make the .venv that an installation leaves, over the packages of our own."""
        venv = self.folder / ".venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
        [packages] = venv.glob("lib/python*/site-packages")
        (packages / "clone.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n")
        for name, module in (("pip", "pip"), ("snsctl", "snsnode.cli.main")):
            script = venv / "bin" / name
            script.write_text(f'#!/bin/sh\nexec "$(dirname "$0")/python" -m {module} "$@"\n')
            script.chmod(0o755)
        self.run("bash", "-c", FINGERPRINT, cwd=self.folder)

    def run(self, *command: str, cwd: Path, code: int = 0) -> str:
        environment = self.cluster.environment | {"PIP_NO_INDEX": "1"}
        environment.pop("VIRTUAL_ENV", None)
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def quickstart(self, *arguments: str, code: int = 0) -> str:
        return self.run(str(self.folder / "bin" / "quickstart"), *arguments, cwd=Path("/"), code=code)


@pytest.fixture
def clone() -> Iterator[Clone]:
    with tempfile.TemporaryDirectory(prefix="sns -") as folder:
        clone = Clone(Path(folder))
        try:
            yield clone
            if (clone.folder / "var").exists():
                clone.run(str(clone.folder / ".venv/bin/snsctl"), "stop", cwd=clone.folder)
            clone.cluster.assert_nothing_left()
        finally:
            clone.cluster.end_all()


def test_quickstart_starts_a_cluster_lets_two_users_talk_and_may_be_repeated(clone: Clone) -> None:
    clone.install()
    first = clone.quickstart()
    assert "Installing" not in first
    assert re.search(r"alice> TIMELINE\nbob \(.*\) >> Kill a server", first)
    assert re.search(r"^cluster local, available: vm\d$", first, re.MULTILINE)
    assert "supervisorctl -c var/vm2/supervisord.conf status" in first
    pids = {vm: clone.cluster.pid(vm, "master") for vm in ("vm2", "vm3")}
    second = clone.quickstart()
    assert "var is up to date" in second
    assert {vm: clone.cluster.pid(vm, "master") for vm in pids} == pids


def test_port_in_use_ends_the_quickstart_with_the_holder_and_the_fix(clone: Clone) -> None:
    clone.install()
    with socket.create_server(("127.0.0.1", clone.cluster.ports["vm2"])):
        said = clone.quickstart(code=78)
    assert f"127.0.0.1:{clone.cluster.ports['vm2']} is in use by process" in said
    assert "vms.vm2.server.port" in said


def test_launch_script_of_a_clone_generates_and_starts_from_any_folder(clone: Clone) -> None:
    clone.install()
    script = str(clone.folder / "bin" / "launch.sh")
    assert "vm1 router: serving" in clone.run(script, "r", "127.0.0.1", cwd=Path("/"))
    assert "it has 127.0.0.1" in clone.run(script, "s", "127.0.0.9", "127.0.0.1", cwd=Path("/"), code=2)


def test_quickstart_that_is_interrupted_ends_what_it_started(clone: Clone) -> None:
    clone.install()
    with subprocess.Popen(
        [str(clone.folder / "bin" / "quickstart")],
        env=clone.cluster.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        clone.cluster.await_role("vm2", "master", 60)
        started.terminate()
        said, _ = started.communicate(timeout=120)
    assert started.returncode == 143
    assert "interrupted: stopping what was started" in said
    clone.cluster.assert_nothing_left()


def test_quickstart_takes_no_options(clone: Clone) -> None:
    assert "usage: bin/quickstart" in clone.quickstart("--help", code=2)


def test_help_of_the_test_command_installs_and_checks_nothing(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    command = shutil.copy(ROOT / "bin" / "test", tmp_path / "bin")
    done = subprocess.run([command, "--help"], stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    assert "bin/test [PYTEST-ARGUMENT]..." in done.stdout
    assert "==" not in done.stdout
    assert list(tmp_path.rglob("*")) == [tmp_path / "bin", tmp_path / "bin" / "test"]


def test_installation_that_was_interrupted_is_tried_again(clone: Clone) -> None:
    clone.install()
    venv = clone.folder / ".venv"
    (venv / ".installed").rename(venv / ".installed-dev")
    said = clone.quickstart(code=1)
    assert "Installing" in said
    assert "cannot install" in said
    assert not list(venv.glob(".installed*"))  # what the other script installed is in doubt, too


@pytest.mark.parametrize(
    ("script", "part"),
    [("exit 1", "found no python3"), ("echo Python 3.9.1; exit 0", "found Python 3.9.1")],
)
def test_machine_without_a_new_python_is_told_so(clone: Clone, script: str, part: str) -> None:
    path = clone.folder / "path"
    path.mkdir()
    for name in ("bash", "env", "dirname", "cat", "grep", "flock"):
        if found := shutil.which(name):
            (path / name).symlink_to(found)
    for name in ("python3.13", "python3.12", "python3.11", "python3", "python"):
        (path / name).write_text(f'#!{shutil.which("sh")}\n[ "$1" = --version ] && {{ {script}; }}\nexit 1\n')
        (path / name).chmod(0o755)
    clone.cluster.environment["PATH"] = str(path)
    said = clone.quickstart(code=1)
    assert "needs Python 3.11 or later" in said
    assert part in said


def test_setup_only_is_done_when_it_is_installed(clone: Clone) -> None:
    clone.install()
    shutil.copy(clone.folder / ".venv" / ".installed", clone.folder / ".venv" / ".installed-dev")
    assert clone.run(str(clone.folder / "bin" / "test"), "--setup-only", cwd=Path("/")) == ""


def test_venv_that_is_a_link_is_never_cleared(clone: Clone) -> None:
    elsewhere = clone.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    (clone.folder / ".venv").symlink_to(elsewhere)
    assert "remove the link" in clone.quickstart(code=1)
    assert (elsewhere / "precious").exists()
    assert os.listdir(elsewhere) == ["precious"]  # noqa: PTH208
