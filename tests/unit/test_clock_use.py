"""Row 17: no decision goes by a clock that somebody can set. Every use of the wall clock is named here, with why.

The syntax trees of the rooms that run for long are searched: a new use fails here until somebody has thought about
it. What only runs as a command (``cli``, ``control``) may show the time.
"""

import ast
from pathlib import Path

import pytest

import snsnode

ROOT = Path(snsnode.__file__).parent
# No use at all:
DECIDING_ROOMS = ("base", "pair", "router", "client", "node", "master", "slave", "social", "transport")
# What is allowed below:
OTHER_ROOMS = ("observe", "store", "supervisord")

# What reads the wall clock. Formatting a given time (strftime, gmtime of a number) decides nothing.
_OF_TIME = {"time", "time_ns", "localtime", "ctime"}
_OF_DATETIME = {"now", "utcnow", "today"}
_REALTIME = {"CLOCK_REALTIME", "CLOCK_REALTIME_COARSE", "CLOCK_TAI"}

ALLOWED = {
    "observe/journal.py": "the time of an entry, for people; durations stand in it as monotonic differences",
    "store/clock.py": "the time of a post, for people; leases run on the boot clock",
    "supervisord/adoption.py": "supervisord's own fields (laststart, delay) are wall times, mended after a jump",
    "supervisord/foreign.py": "a pid file's age is compared with a process's, and both are wall times",
    "supervisord/roles.py": "supervisord's own fields, as in adoption",
}


def uses(source: str) -> list[int]:
    """Return the lines of ``source`` that read the wall clock."""
    tree = ast.parse(source)
    names: dict[str, str] = {}  # what a name of this file means: "time", "time.time", "datetime.datetime", …
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    # Also where it is only handed on, as in field(default_factory=time.time).
    read = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    return sorted({node.lineno for node in read if isinstance(node.ctx, ast.Load) and _is_wall_clock(node, names)})


def _is_wall_clock(node: ast.expr, names: dict[str, str]) -> bool:
    module, _, last = _meaning(node, names).rpartition(".")
    if module == "time":
        return last in _OF_TIME | _REALTIME
    return module in ("datetime.datetime", "datetime.date") and last in _OF_DATETIME


def _meaning(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        inner = _meaning(node.value, names)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def found() -> dict[str, list[int]]:
    rooms = [ROOT / room for room in (*DECIDING_ROOMS, *OTHER_ROOMS)]
    files = {str(path.relative_to(ROOT)): path for room in rooms for path in sorted(room.rglob("*.py"))}
    assert len(files) > 40
    return {name: lines for name, path in files.items() if (lines := uses(path.read_text(encoding="utf-8")))}


def test_wall_clock_is_read_only_where_nothing_is_decided_by_it() -> None:
    assert {name: lines for name, lines in found().items() if name not in ALLOWED} == {}
    assert set(ALLOWED) - set(found()) == set(), "no longer needed"


def test_no_deciding_room_is_excused() -> None:
    assert [name for name in ALLOWED if name.split("/")[0] in DECIDING_ROOMS] == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import time as t\nx = t.time_ns()",
        "from time import time\nlater = time",
        "from time import time as wall\nwall()",
        "import time\ntime.clock_gettime(time.CLOCK_REALTIME)",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime, UTC\ndatetime.now(UTC)",
        "from datetime import datetime as d\nd.utcnow()",
        "from datetime import date\nf(default=date.today)",
        "import time\ntime.localtime()",
    ],
)
def test_a_read_of_the_wall_clock_is_found(source: str) -> None:
    assert uses(source) == [2]


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.monotonic()",
        "import time\ntime.clock_gettime(time.CLOCK_BOOTTIME)",
        "import time\ntime.strftime('%Y', time.gmtime(0))",
        "from datetime import datetime\ndatetime.fromisoformat(x)",
        "self.now()\nself.time()",
        "time = 5\nprint(time)",
    ],
)
def test_other_clocks_and_other_names_are_not(source: str) -> None:
    assert uses(source) == []
