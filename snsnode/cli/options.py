"""The options that every command takes: which spec, which home, which VMs.

They may also stand before the command. Light: imported for ``snsctl --help`` too.
"""

import math
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from snsnode.base.errors import UsageError
from snsnode.base.ids import VmName, shown

HOME_DEFAULT = Path("var")
SPECS_DEFAULT = (Path("conf/cluster.yaml"), Path("conf/local.yaml"))

_Function = TypeVar("_Function", bound=Callable[..., Any])


def shared(function: _Function) -> _Function:
    """Give a command ``spec_path: Path | None``, ``home: Path | None`` and ``vms: tuple[str, ...]``."""
    for option in reversed(_options(with_environment=False)):
        function = option(function)
    return function


def shared_before(function: _Function) -> _Function:
    """Give the group the same options; it also takes them from the environment, for every command."""
    for option in reversed(_options(with_environment=True)):
        function = option(function)
    return function


def takes_template(function: _Function) -> _Function:
    """Give a command that reads the template ``template_path: Path | None``."""
    option = click.option(
        "--template",
        "template_path",
        type=_FilePath(),
        metavar="FILE",
        envvar="SNS_TEMPLATE",
        help="Template of supervisord.conf; SNS_TEMPLATE sets it too.  [default: the installed one]",
    )
    return option(function)


def home_of(option: Path | None) -> Path:
    """Return the cluster's home on this machine: ``--home``, else ``SNS_HOME``, else ``var``."""
    return HOME_DEFAULT if option is None else option


def selected(known: Collection[VmName], vms: Iterable[str]) -> tuple[VmName, ...]:
    """Return the VMs that ``--vm`` names, in the order of the spec; all of them where it is not given.

    Raises:
        UsageError: the spec has no such VM.
    """
    asked = set(vms)
    unknown = sorted(asked.difference(known))
    if unknown:
        raise UsageError(
            f"cannot take --vm {shown(unknown[0])}: no such VM in the spec; it has {', '.join(known)}"
        )
    return tuple(name for name in known if not asked or name in asked)


class Seconds(click.types.FloatParamType):
    """A number of seconds within bounds, without the words that Python takes for numbers: nan, inf."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; anything else is a wrong command line."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        # Written so that nan fails it: every comparison with it is false.
        if not self.low <= seconds <= self.high:
            self.fail(f"{shown(str(value))} is not a number from {self.low:g} to {self.high:g}", param, ctx)
        return seconds


class _FilePath(click.Path):
    """A path that is not empty: "" would quietly mean the working folder."""

    def __init__(self) -> None:
        # Not click's own look whether it can be read: a command says better what is wrong, or needs it not.
        super().__init__(path_type=Path, readable=False)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path; an empty one is a wrong command line."""
        if not os.fspath(value):
            self.fail("it is empty; name one, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


def _options(*, with_environment: bool) -> list[Callable[[_Function], _Function]]:
    # The commands' own options have no envvar: a value given before the command would lose to it.
    def envvar(name: str) -> str | None:
        return name if with_environment else None

    return [
        click.option(
            "--spec",
            "spec_path",
            type=_FilePath(),
            metavar="FILE",
            envvar=envvar("SNS_SPEC"),
            help="Cluster spec; SNS_SPEC sets it too.  [default: conf/cluster.yaml, then conf/local.yaml]",
        ),
        click.option(
            "--home",
            type=_FilePath(),
            metavar="DIR",
            envvar=envvar("SNS_HOME"),
            help="The cluster's home on this machine; SNS_HOME sets it too.  [default: var]",
        ),
        click.option(
            "--vm", "vms", multiple=True, metavar="VM", help="Only this VM; may be repeated.  [default: all]"
        ),
    ]
