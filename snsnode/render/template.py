"""The one template, ``supervisord.conf.tmpl``, and the only place that knows Jinja2.

Called by ``plan``. Pure but for ``load``, which reads the template that was installed with the package.
"""

import re
from collections.abc import Sequence
from importlib import resources
from types import TracebackType

import jinja2

from snsnode.base.errors import ConfigError
from snsnode.base.ids import shown

FILENAME = "supervisord.conf.tmpl"

_COMMENT = re.compile(r"(?:^|\s)[;#]")


def load() -> str:
    """Return the text of the template.

    Raises:
        ConfigError: the package was installed without it, or it is no UTF-8.
    """
    try:
        return resources.files("snsnode.render").joinpath(FILENAME).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the template {FILENAME}: {error.strerror}; install anew") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read the template {FILENAME}: not UTF-8 at byte {error.start}") from None


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
