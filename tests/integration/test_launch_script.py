"""``bin/launch.sh``: the original options become snsctl's, whatever the path."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[2] / "bin" / "launch.sh"
SNSCTL = '#!/bin/sh\nprintf "%s|" "$@"\nexit 7\n'


@pytest.fixture
def launch(tmp_path: Path) -> Path:
    """The script in a path with a space, beside an snsctl that says what it was told."""
    home = tmp_path / "a path"
    (home / "bin").mkdir(parents=True)
    _write(home / ".venv" / "bin" / "snsctl")
    return Path(shutil.copy(SCRIPT, home / "bin"))


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(SNSCTL)
    path.chmod(0o755)


def run(script: Path, *arguments: str, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments], capture_output=True, text=True, timeout=10, env=os.environ | {"PATH": path}
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["r", "127.0.0.1"], "start|router|--at|127.0.0.1|"),
        (["s", "10.0.0.2", "10.0.0.1"], "start|slave|--at|10.0.0.2|--router-at|10.0.0.1|"),
        (["c", "10.0.0.1", "-al ice"], "start|client|--router-at|10.0.0.1|--|-al ice|"),
    ],
)
def test_options_become_those_of_snsctl_and_its_exit_code_is_passed_on(
    launch: Path, arguments: list[str], told: str
) -> None:
    done = run(launch, *arguments)
    assert (done.stdout, done.stderr, done.returncode) == (told, "", 7)


def test_snsctl_is_found_on_the_path_where_none_stands_beside(launch: Path, tmp_path: Path) -> None:
    shutil.rmtree(launch.parents[1] / ".venv")
    _write(tmp_path / "elsewhere" / "snsctl")
    done = run(launch, "r", "127.0.0.1", path=f"{tmp_path / 'elsewhere'}:{os.defpath}")
    assert (done.stdout, done.returncode) == ("start|router|--at|127.0.0.1|", 7)


@pytest.mark.parametrize(
    "arguments", [[], ["r"], ["r", "1", "2"], ["s", "1"], ["c", "1"], ["c", "1", "2", "3"], ["x", "1"], ["-h"]]
)
def test_anything_else_prints_the_usage(launch: Path, arguments: list[str]) -> None:
    done = run(launch, *arguments)
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("usage: ")
