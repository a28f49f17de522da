"""No room with an event loop blocks it: every call that may wait is named here, with why it may.

The syntax trees are searched for what is known to wait. Reading a small file that the kernel has in memory is not.
"""

import ast
from pathlib import Path

import pytest

import snsnode

ROOT = Path(snsnode.__file__).parent
ROOMS = ("pair", "master", "slave", "router", "social", "transport")

_CALLS = {"sleep", "fsync", "getaddrinfo", "gethostbyname", "rglob", "check_output", "check_call", "system"}
_OF_MODULE = {"time": {"sleep"}, "subprocess": {"run", "call"}}

ALLOWED = {
    "pair/spawn.py": "waits for a child of its own that it has just killed",
    "router/peer.py": "asks the resolver in a thread of its own",
    "slave/spare.py": "looks at the code in the owned thread",
    "transport/reservation.py": "called in the owned thread",
}


def uses(source: str) -> list[int]:
    """Return the lines of ``source`` that may block."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return sorted(call.lineno for call in calls if _waits(call))


def _waits(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(ast.Name("asyncio"), _):
            return False
        case ast.Attribute(ast.Name(module), name) if module in _OF_MODULE and name in _OF_MODULE[module]:
            return True
        case ast.Attribute(ast.Attribute(_, "process") | ast.Name("process"), "wait" | "communicate"):
            return True
        case ast.Attribute(ast.Name(lock) | ast.Attribute(_, lock), "take") if lock.endswith("lock"):
            return bool(call.args or call.keywords)  # with a time to wait
        case ast.Attribute(_, name) | ast.Name(name):
            return name in _CALLS
        case _:
            return False


def found() -> dict[str, list[int]]:
    files = {str(path.relative_to(ROOT)): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}
    assert len(files) > 30
    return {name: lines for name, path in files.items() if (lines := uses(path.read_text(encoding="utf-8")))}


def test_what_may_block_is_named() -> None:
    assert {name: lines for name, lines in found().items() if name not in ALLOWED} == {}
    assert set(ALLOWED) - set(found()) == set(), "no longer needed"


@pytest.mark.parametrize(
    "source",
    [
        "time.sleep(1)",
        "lock.take(2.0)",
        "lock.take(within_s=2.0)",
        "child.process.wait()",
        "process.wait(1)",
        "os.fsync(f)",
        "socket.getaddrinfo(name, None)",
        "root.rglob('*')",
        "subprocess.run(x)",
    ],
)
def test_a_call_that_blocks_is_found(source: str) -> None:
    assert uses(source) == [1]


@pytest.mark.parametrize("source", ["asyncio.sleep(1)", "lock.take()", "stop.wait()", "child.process.poll()"])
def test_one_that_does_not_is_not(source: str) -> None:
    assert uses(source) == []
