"""Reads the spec that a command is about; pydantic is imported when one is read."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from snsnode.base import reading
from snsnode.base.errors import ConfigError
from snsnode.base.ids import PATH_SHOWN, shown
from snsnode.cli.options import SPECS_DEFAULT
from snsnode.cli.streams import complain
from snsnode.spec.problems import Mark, Problem, SpecError

if TYPE_CHECKING:
    from snsnode.spec.model import Spec

PIPE_S = 1.0  # a spec may come from another command's output, but not for ever


def load_spec(option: Path | None) -> "tuple[Spec, tuple[Problem, ...]]":
    """Read the spec at ``option``, or the default one; return it and its warnings.

    Raises:
        ConfigError: it cannot be read.
        SpecError: with every problem in it.
    """
    from snsnode.spec.parse import parse

    path = spec_path_of(option)
    return parse(_read(path), str(path))


def spec_path_of(option: Path | None) -> Path:
    """Return the spec's path: ``--spec``, else ``SNS_SPEC``, else the first default that exists.

    Raises:
        ConfigError: nothing is given and no default exists.
    """
    if option is not None:
        return option
    for path in SPECS_DEFAULT:
        if path.exists():
            return path
    names = " nor ".join(map(str, SPECS_DEFAULT))
    raise ConfigError(f"cannot find a spec: there is neither {names} here; give --spec FILE or set SNS_SPEC")


def show_warnings(warnings: Iterable[Problem], path: Path) -> None:
    """Write ``warnings`` to stderr, one a line."""
    for warning in warnings:
        complain(warning.line(str(path)))


def _read(path: Path) -> str:
    from snsnode.spec.tree import TEXT_MAX

    what = f"cannot read the spec {shown(str(path), PATH_SHOWN)}"
    try:
        content = reading.read_given(path, 4 * TEXT_MAX + 1, PIPE_S)  # so many bytes its characters can take
    except FileNotFoundError:
        raise ConfigError(f"{what}: no such file; give --spec FILE") from None
    except reading.Damaged as error:
        raise ConfigError(f"{what}: {error}; name a file") from None
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}") from None
    if len(content) > 4 * TEXT_MAX:
        text = f"the file is longer than {TEXT_MAX} characters: is it a cluster spec?"
        raise SpecError(str(path), [Problem(Mark(1, 1), text)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        text = f"the byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8"
        raise SpecError(str(path), [Problem(mark, text)]) from None
