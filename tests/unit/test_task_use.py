"""Every task has an owner that awaits it: no room starts one beside its ``TaskGroup``, but for what is named here.

A bare task that fails is noticed by nobody, and one that still runs at the end is cut off in the middle.
"""

import ast
from pathlib import Path

import pytest

import snsnode

ROOT = Path(snsnode.__file__).parent
NOT_YET = ("client", "store")  # their tasks have owners of their own, and tests of their ends

_STARTERS = {"create_task", "ensure_future", "Task"}
_IN_LOOP = {"run_coroutine_threadsafe", "run_in_executor", "to_thread"}

ALLOWED = {
    "pair/tasks.py": "the owned set itself, for tasks that outlive the call that started them",
}


def uses(source: str) -> list[int]:
    """Return the lines of ``source`` that start a task without a group."""
    return sorted(
        node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and _is_bare(node)
    )


def _is_bare(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(ast.Name("asyncio"), name):
            return name in _STARTERS | _IN_LOOP
        case ast.Attribute(ast.Call(), name) | ast.Attribute(ast.Attribute(_, "_loop" | "loop"), name):
            return name in _STARTERS | _IN_LOOP  # asyncio.get_running_loop().create_task
        case ast.Attribute(ast.Name("loop" | "asyncio"), name):
            return name in _STARTERS | _IN_LOOP
        case ast.Name(name):
            return name in (_STARTERS | _IN_LOOP) - {"Task"}
        case _:
            return False


def found() -> dict[str, list[int]]:
    rooms = [room for room in sorted(ROOT.iterdir()) if room.is_dir() and room.name not in NOT_YET]
    files = {str(path.relative_to(ROOT)): path for room in rooms for path in sorted(room.rglob("*.py"))}
    assert len(files) > 100
    return {name: lines for name, path in files.items() if (lines := uses(path.read_text(encoding="utf-8")))}


def test_every_task_is_started_in_a_group() -> None:
    assert {name: lines for name, lines in found().items() if name not in ALLOWED} == {}
    assert set(ALLOWED) - set(found()) == set(), "no longer needed"


@pytest.mark.parametrize(
    "source",
    [
        "asyncio.create_task(f())",
        "task = asyncio.ensure_future(f())",
        "asyncio.get_running_loop().create_task(f())",
        "loop.create_task(f())",
        "self._loop.create_task(f())",
        "create_task(f())",
        "asyncio.Task(f())",
        "asyncio.to_thread(f)",
        "loop.run_in_executor(None, f)",
    ],
)
def test_a_bare_task_is_found(source: str) -> None:
    assert uses(source) == [1]


@pytest.mark.parametrize("source", ["group.create_task(f())", "self._tasks.create_task(f())", "tasks.start(f())"])
def test_one_of_a_group_is_not(source: str) -> None:
    assert uses(source) == []
