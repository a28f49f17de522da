"""The one template, ``supervisord.conf.tmpl``, and the only place that knows Jinja2.

Called by ``plan``. Pure but for what reads and writes a template.
"""

import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from types import TracebackType

import jinja2

from snsnode.base import reading, trust
from snsnode.base.errors import ConfigError, SnsError, UsageError
from snsnode.base.ids import shown

FILENAME = "supervisord.conf.tmpl"
BYTES_MAX = 1 << 20
SILENT_S = 5.0  # a pipe whose writer is silent for so long gives no template

_COMMENT = re.compile(r"(?:^|\s)[;#]")


def load() -> str:
    """Return the text of the template that was installed with the package.

    Raises:
        ConfigError: the package was installed without it, or it is no UTF-8.
    """
    try:
        return resources.files("snsnode.render").joinpath(FILENAME).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the template {FILENAME}: {error.strerror}; install anew") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read the template {FILENAME}: not UTF-8 at byte {error.start}") from None


def chosen(path: Path | None) -> str:
    """Return the text of the template at ``path``, or of the installed one where that is None.

    Raises:
        ConfigError: it cannot be read, is no UTF-8, or somebody else decides what is in it.
    """
    if path is None:
        return load()
    trust.check_file(path, f"cannot use the template {path}")
    what = f"cannot read the template {path}"
    try:
        content = reading.read_given(path, BYTES_MAX + 1, SILENT_S)
        if len(content) > BYTES_MAX:
            raise ConfigError(f"{what}: it has more than {BYTES_MAX} bytes")
        return content.decode()
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}; give another --template") from None
    except reading.Damaged as error:
        raise ConfigError(f"{what}: {error}; give another --template") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: not UTF-8 at byte {error.start}") from None


def write(path: Path) -> None:
    """Write the template that was installed with the package to the new file ``path``.

    Raises:
        UsageError: something is there.
        SnsError: it cannot be written.
    """
    text = load()
    what = f"cannot write the template {path}"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{what}: it exists; name another file") from None
    except OSError as error:
        raise SnsError(f"{what}: {error.strerror}; name another place") from None


def render(template_text: str, *, cluster: str, vm: str, programs: Sequence[str]) -> str:
    """Return one VM's ``supervisord.conf``.

    Raises:
        ConfigError: the template is wrong; names the line.
    """
    # Jinja2 evaluates whatever an expression holds, so that these few kinds cover what a template can do wrong.
    try:
        template = _environment().from_string(template_text)
        return template.render(cluster=cluster, vm=vm, programs=tuple(programs))
    except jinja2.TemplateSyntaxError as error:
        raise _failed(error.lineno, error.message or "syntax error") from None
    except (jinja2.TemplateError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise _failed(_line(error.__traceback__), str(error)) from None


def ini(value: object) -> str:
    """Escape ``value`` for one line of an INI file that supervisor expands ``%`` in.

    Raises:
        ValueError: it would end the line, begin a comment, or lose its outer spaces.
    """
    text = str(value)
    if not text.isprintable() or text != text.strip() or _COMMENT.search(text):
        raise ValueError(
            f"{shown(text)} cannot stand in an INI file: leave out line ends, comments and outer spaces"
        )
    return text.replace("%", "%%")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    environment.filters["ini"] = ini
    return environment


def _line(traceback: TracebackType | None) -> int:
    """Return the template's line in which an exception arose: Jinja2 adds template frames to the traceback."""
    line = 1
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _failed(line: int, cause: str) -> ConfigError:
    return ConfigError(f"cannot render {FILENAME}: line {line}: {cause}")
