"""A program's process object as supervisord makes it and the plug-in changes it, without a supervisord."""

import signal
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor.process import Subprocess
from supervisor.states import SupervisorStates

from snsnode.node.ending import kill_and_wait
from snsnode.node.process import Identity, identify
from snsnode.supervisord.adoption import Adopting

STARTSECS = 10


class Log:
    """supervisord's logger; ``errors`` is what was logged as one."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, message: str) -> None:
        self.errors.append(message)

    def debug(self, message: str) -> None: ...

    info = warn = critical = debug


def make(kind: type[Adopting], **settings: Any) -> Any:
    """Return a process object as supervisord makes it, changed as the plug-in does."""
    options = SimpleNamespace(
        logger=Log(), mood=SupervisorStates.RUNNING, pidhistory={}, close_parent_pipes=lambda pipes: None
    )
    config = {
        "name": "it",
        "options": options,
        "startsecs": STARTSECS,
        "startretries": 3,
        "stopwaitsecs": 10,
        "stopsignal": signal.SIGTERM,
        "stopasgroup": False,
        "killasgroup": False,
        "exitcodes": [0],
        "autostart": False,
        "autorestart": False,
        "stdout_logfile": None,
        "stderr_logfile": None,
    }
    made: Any = Subprocess(SimpleNamespace(**(config | settings)))
    made.__class__ = kind
    return made


def log_of(process: Any) -> Log:
    log: Log = process.config.options.logger
    return log


@pytest.fixture
def stranger() -> Iterator[Identity]:
    """A live process that is somebody else's child."""
    started = subprocess.run(["setsid", "sh", "-c", "sleep 60 >&- & echo $!"], stdout=subprocess.PIPE, check=True)
    identity = identify(int(started.stdout))
    assert identity is not None
    yield identity
    assert kill_and_wait(identity, 5).is_dead
