"""SQL kept in files: an engine's named statements, its numbered migrations, and the additions to the last of them.

Called by the engines, each with the name of its folder under ``sql``. Never touches a database.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).with_name("sql")
_SECTION = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")


class Migration(NamedTuple):
    """One step of the schema; ``number`` is the schema's version after it."""

    number: int
    path: Path


@cache
def statements(engine: str) -> Mapping[str, str]:
    """Return the statements of ``queries.sql`` by name."""
    _, *parts = _SECTION.split((_ROOT / engine / "queries.sql").read_text(encoding="utf-8"))
    return dict(zip(parts[::2], (text.strip() for text in parts[1::2]), strict=True))


@cache
def migrations(engine: str) -> tuple[Migration, ...]:
    """Return the migrations, lowest number first."""
    found = ((_MIGRATION.fullmatch(path.name), path) for path in (_ROOT / engine).iterdir())
    return tuple(sorted(Migration(int(match[1]), path) for match, path in found if match))


def additions(engine: str) -> Path:
    """Return the file of what is added to the last migration without a new number; it may run again."""
    return _ROOT / engine / "additions.sql"
