"""What all commands share on the command line: their numbers, and their help."""

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from snsnode.cli.lazy import LazyGroup
from snsnode.cli.main import main, snsctl
from snsnode.cli.options import Seconds
from tests.processes import STEP_S

Words = tuple[str, ...]


def commands(group: click.Group = snsctl, path: Words = ()) -> Iterator[tuple[Words, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, LazyGroup):
            yield from commands(command, (*path, name))


def numbers() -> Iterator[tuple[Words, str]]:
    """Yield every option that takes a number: its command, and its name."""
    for path, command in commands():
        for option in command.params:
            if isinstance(option.default, int | float) and not isinstance(option.default, bool):
                yield path, option.opts[0]


@pytest.mark.parametrize(("path", "option"), list(numbers()))
@pytest.mark.parametrize("word", ["nan", "-nan", "inf", "-inf", "-1", "1e300", "9" * 5000, "", "x", "0x10", "NaN"])
def test_a_number_out_of_bounds_is_a_usage_error(
    path: Words, option: str, word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, option, word]) == 2
    assert f"Invalid value for '{option}'" in capfd.readouterr().err


def test_there_are_numbers_and_no_bare_float_takes_one() -> None:
    assert len(list(numbers())) >= 2
    for path, command in commands():
        for option in command.params:
            assert isinstance(option.type, Seconds) or not isinstance(option.type, click.types.FloatParamType), (
                path
            )


def test_help_does_not_come_from_docstrings() -> None:
    """PYTHONOPTIMIZE=2 removes them: every page of help is the same without."""
    program = (
        "import sys\nfrom snsnode.cli.main import main\n"
        "for path in sys.argv[1:]:\n    main([*path.split(), '--help'])\n"
    )
    pages = ["", *(" ".join(path) for path, _ in commands())]
    said = [
        subprocess.run(
            [sys.executable, "-c", program, *pages],
            env=os.environ | {"PYTHONOPTIMIZE": level},
            capture_output=True,
            text=True,
            timeout=STEP_S * 3,
            check=True,
        ).stdout
        for level in ("0", "2")
    ]
    assert said[0] == said[1]
    assert said[0].count("Usage:") == len(pages)
    for path, command in commands():
        assert command.help and len(command.help) > 20, path
        assert all(option.help for option in command.params if isinstance(option, click.Option)), path
