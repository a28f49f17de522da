"""There is one way to end a process: no room signals one beside ``node.ending``, but for what is named here."""

import ast
from pathlib import Path

import pytest

import snsnode

ROOT = Path(snsnode.__file__).parent
_CALLS = {"kill", "killpg", "terminate", "send_signal", "pidfd_send_signal"}

ALLOWED = {
    "node/ending.py": "the one way itself",
    "node/process.py": "the signal to exactly one process, which it rests on",
    "cli/streams.py": "a signal to itself, so that its parent sees how it ended",
}


def uses(source: str) -> list[int]:
    """Return the lines of ``source`` that signal a process."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return sorted(call.lineno for call in calls if _is_one(call))


def _is_one(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(ast.Name("os"), name):
            return name in _CALLS
        case ast.Attribute(ast.Name("ending" | "Subprocess"), _):
            return False  # supervisord's own class ends supervisord's own child
        case ast.Attribute(ast.Call(ast.Name("super")), _):
            return False
        case ast.Attribute(ast.Attribute(_, "connection" | "_db") | ast.Name("connection"), "terminate"):
            return False  # of a database
        case ast.Attribute(_, name) | ast.Name(name):
            return name in _CALLS
        case _:
            return False


def found() -> dict[str, list[int]]:
    files = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
    assert len(files) > 150
    return {name: lines for name, path in files.items() if (lines := uses(path.read_text(encoding="utf-8")))}


def test_processes_are_ended_in_one_place() -> None:
    assert {name: lines for name, lines in found().items() if name not in ALLOWED} == {}
    assert set(ALLOWED) - set(found()) == set(), "no longer needed"


@pytest.mark.parametrize(
    "source",
    [
        "os.kill(pid, 9)",
        "os.killpg(pid, 9)",
        "child.process.kill()",
        "process.terminate()",
        "self._leaving.process.kill()",
        "send_signal(victim, signal.SIGKILL)",
        "signal.pidfd_send_signal(fd, 9)",
    ],
)
def test_another_way_is_found(source: str) -> None:
    assert uses(source) == [1]


@pytest.mark.parametrize("source", ["ending.kill(victim)", "super().kill(sig)", "self.connection.terminate()"])
def test_the_one_way_is_not(source: str) -> None:
    assert uses(source) == []
