"""What is wrong with a spec, and where.

Light on purpose (no pydantic): ``cli`` imports this on every start to print a ``SpecError`` as it stands.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from snsnode.base.errors import ConfigError

SHOWN_MAX = 200  # a file of another kind altogether must not scroll the first, telling lines away


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in the file: line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake, or one warning: where it stands, what is wrong and what to write instead."""

    mark: Mark
    text: str

    def line(self, source: str) -> str:
        """Return ``FILE:LINE:COLUMN: TEXT``, which editors and terminals make a link of."""
        return f"{source}:{self.mark.line}:{self.mark.column}: {self.text}"


class SpecError(ConfigError):
    """A spec that is refused; its message is one line a problem, in the order of the file."""

    code = "spec"

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(set(problems)))
        lines = [problem.line(source) for problem in self.problems[:SHOWN_MAX]]
        if len(self.problems) > SHOWN_MAX:
            lines.append(f"{source}: and {len(self.problems) - SHOWN_MAX} more")
        super().__init__("\n".join(lines))
