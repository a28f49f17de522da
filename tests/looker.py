"""What ``snsctl status --json`` says, without a new process for each look: its start is most of what it costs.

A process of its own answers, since a test may have an event loop of its own for gRPC. The command is tested, too.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from snsnode.base.errors import SnsError
from snsnode.cli.status import question_of
from snsnode.control.status import look

ASK_S = 1.0

_one_at_a_time = threading.Lock()
_processes: "list[subprocess.Popen[str]]" = []  # one at most, from the first look on


def status(spec: Path, home: Path) -> dict[str, Any]:
    """Return the status of the cluster of ``spec`` and ``home``; ``AssertionError`` where there is none."""
    with _one_at_a_time:
        process = _process()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([str(spec), str(home)]) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
    assert "error" not in answer, answer["error"]
    return answer


def pids() -> set[int]:
    """Return the process that answers, where there is one."""
    return {process.pid for process in _processes}


def _process() -> "subprocess.Popen[str]":
    if not _processes or _processes[0].poll() is not None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SNS_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.looker"],
            cwd=Path(__file__).resolve().parents[1],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        _processes[:] = [process]
        atexit.register(process.kill)
    return _processes[0]


def _answer(spec: str, home: str) -> dict[str, Any]:
    try:
        return look(question_of(Path(spec), Path(home), ()), ASK_S).to_dict()
    except SnsError as error:
        return {"error": error.message}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_answer(*json.loads(line))), flush=True)
