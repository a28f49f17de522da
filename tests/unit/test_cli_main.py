"""``snsctl`` itself: what every command gets from it."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from snsnode.base.errors import Exhausted
from snsnode.cli import main as cli
from snsnode.cli.specfile import spec_path_of
from snsnode.render import template

CONF = Path(__file__).parents[2] / "conf"
HEAVY = {"grpc", "pydantic", "jinja2", "yaml", "supervisor", "rich", "prompt_toolkit", "apsw"}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from snsnode.cli.main import main; main(['--help']);"
        "print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    loaded = set(result.stdout.rpartition("loaded:")[2].split())
    assert "generate" in result.stdout
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (Exhausted("cannot write x: full"), 1, "snsctl: cannot write x: full\n"),
        (FileNotFoundError(2, "No such file", "x"), 1, "snsctl: cannot go on x: No such file\n"),
        (click.UsageError("bad\n  thing."), 2, "snsctl: bad thing\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
    ],
)
def test_error_becomes_one_line_and_an_exit_code(
    raised: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise raised

    monkeypatch.setattr(cli.snsctl, "main", fail)
    assert cli.main([]) == code
    assert capfd.readouterr().err == words


def test_exit_code_of_a_command_is_what_it_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.snsctl, "main", lambda *args, **kwargs: 7)
    assert cli.main([]) == 7
    monkeypatch.setattr(cli.snsctl, "main", lambda *args, **kwargs: None)
    assert cli.main([]) == 0


def test_nothing_to_do_shows_the_help_and_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "Commands:" in capfd.readouterr().err


def test_defaults_are_the_first_spec_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    for name in ("local.yaml", "cluster.yaml"):
        (tmp_path / "conf" / name).write_text("")
        assert spec_path_of(None) == Path("conf", name)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's: pytest's own does not, in a worker."""
    with tempfile.TemporaryDirectory(prefix="sns-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("flags", [(), ("--check",), ("--diff",)])
def test_misread_template_is_refused_and_nothing_written(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    text = template.load().replace("[program:slave]", "[progam:slave]")
    monkeypatch.setattr(template, "load", lambda: text)
    monkeypatch.chdir(short_folder)
    assert cli.main(["generate", str(CONF / "local.yaml"), *flags]) == 78
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("snsctl: cannot use vm2/supervisord.conf")
    assert list(short_folder.iterdir()) == []


@pytest.mark.parametrize("option", ["--home", "--spec"])
@pytest.mark.parametrize("before", [True, False])
def test_empty_path_is_refused(option: str, before: bool, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [option, "", "validate"] if before else ["validate", option, ""]
    assert cli.main(arguments) == 2
    assert f"Invalid value for '{option}': it is empty" in capfd.readouterr().err
