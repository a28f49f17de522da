"""What a router looks up after an ``await`` may be gone: no module that awaits takes it for granted.

The pure modules (``table``, ``merge``) may, for nothing happens between two of their lines.
"""

import ast
from pathlib import Path

import pytest

import snsnode.router

ROOT = Path(snsnode.router.__file__).parent
_MAPS = {"servers", "members", "offers"}


def granted(source: str) -> list[int]:
    """Return the lines of ``source`` that take an entry of the table for granted, where it awaits at all."""
    nodes = list(ast.walk(ast.parse(source)))
    if not any(isinstance(node, ast.AsyncFunctionDef) for node in nodes):
        return []
    return sorted(node.lineno for node in nodes if isinstance(node, ast.Subscript) and _is_of_table(node))


def _is_of_table(node: ast.Subscript) -> bool:
    return (
        isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr in _MAPS
        and not isinstance(node.slice, ast.Slice)
    )


def test_no_module_that_awaits_takes_an_entry_for_granted() -> None:
    found = {path.name: granted(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("*.py"))}
    assert len(found) > 10
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("look", ["self._table.servers[vm]", "present.table.members[vm].target"])
def test_one_that_is_taken_for_granted_is_found(look: str) -> None:
    assert granted(f"async def f():\n    return {look}") == [2]
    assert granted(f"def f():\n    return {look}") == []


@pytest.mark.parametrize("look", ["self._table.servers.get(vm)", "reply.servers[:9]"])
def test_one_that_may_be_missing_is_not(look: str) -> None:
    assert granted(f"async def f():\n    return {look}") == []
