"""``bin/launch.sh``: sets up and generates, then the original options become snsctl's, whatever the path."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[2] / "bin" / "launch.sh"
# Says where it runs, with which spec and home, and what it was told.
SNSCTL = """#!/bin/sh
[ "$1" = generate ] && { echo generated in "$PWD"; exit ${GENERATE_FAILS:-0}; }
printf "%s;%s;%s;" "$PWD" "${SNS_SPEC-}" "${SNS_HOME-}"
printf "%s|" "$@"
exit 7
"""
SETUP = 'setup_venv() { mkdir -p .venv/bin; mv snsctl .venv/bin/snsctl; echo set up "$root"; }\n'


@pytest.fixture
def launch(tmp_path: Path) -> Path:
    """The script of a bare clone, in a path with a space; its set-up brings an snsctl that says what it hears."""
    clone = tmp_path / "a path"
    (clone / "bin").mkdir(parents=True)
    (clone / "snsctl").write_text(SNSCTL)
    (clone / "snsctl").chmod(0o755)
    (clone / "bin" / "setup-venv").write_text(SETUP)
    return Path(shutil.copy(SCRIPT, clone / "bin"))


def run(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("SNS_")}
    return subprocess.run(
        [script, *arguments], capture_output=True, text=True, timeout=10, env=own | environment, cwd="/"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["r", "127.0.0.1"], "start|router|--at|127.0.0.1|"),
        (["s", "10.0.0.2", "10.0.0.1"], "start|slave|--at|10.0.0.2|--router-at|10.0.0.1|"),
        (["c", "10.0.0.1", "-al ice"], "start|client|--router-at|10.0.0.1|--|-al ice|"),
    ],
)
def test_bare_clone_is_set_up_and_generated_and_then_the_options_become_those_of_snsctl(
    launch: Path, arguments: list[str], told: str
) -> None:
    done = run(launch, *arguments)
    root = launch.parents[1]
    generated = "" if arguments[0] == "c" else f"generated in {root}\n"
    assert (done.stdout, done.returncode) == (f"{root};;;{told}", 7)
    assert done.stderr == f"set up {root}\n{generated}"


def test_what_the_environment_names_is_relative_to_the_caller(launch: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(launch)
    done = run(link, "r", "127.0.0.1", SNS_SPEC="a/spec.yaml", SNS_HOME="/b c")
    assert done.stdout.startswith(f"{launch.parents[1]};//a/spec.yaml;/b c;start|router|")


def test_spec_that_cannot_be_generated_starts_nothing(launch: Path) -> None:
    done = run(launch, "r", "127.0.0.1", GENERATE_FAILS="78")
    assert (done.stdout, done.returncode) == ("", 78)


@pytest.mark.parametrize(
    "arguments", [[], ["r"], ["r", "1", "2"], ["s", "1"], ["c", "1"], ["c", "1", "2", "3"], ["x", "1"], ["-h"]]
)
def test_anything_else_prints_the_usage_and_sets_nothing_up(launch: Path, arguments: list[str]) -> None:
    done = run(launch, *arguments)
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("usage: ")
    assert not (launch.parents[1] / ".venv").exists()
