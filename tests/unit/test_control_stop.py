"""A stop against somebody who brings back at once what it ends: it gives up, and says who that is."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snsnode.base.errors import Unavailable
from snsnode.control import stop
from snsnode.node import ending
from snsnode.node.ending import Outcome
from snsnode.node.lock import Holder
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify

FAR_TOO_MANY = 30


@pytest.fixture
def heir() -> Iterator[Callable[[], Identity]]:
    """Makes a live process, the next one each time: as fast as a respawner can be."""
    made: list[subprocess.Popen[bytes]] = []

    def one() -> Identity:
        assert len(made) < FAR_TOO_MANY, "it goes on for ever"
        if not made or made[-1].poll() is not None:
            made.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        identity = identify(made[-1].pid)
        assert identity is not None
        return identity

    yield one
    for process in made:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", ["a role", "all"])
def test_whoever_comes_back_at_once_each_time_is_somebody_elses_to_end(
    how: str, heir: Callable[[], Identity], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm_dir = VmDir(tmp_path)
    monkeypatch.setattr(stop, "is_locked", lambda *_: True)
    monkeypatch.setattr(stop, "live_holder", lambda *_: Holder(heir()))
    monkeypatch.setattr(stop, "_all_of", lambda _: [heir()])
    with pytest.raises(Unavailable, match=r"starts it again and again, now as process \d+ .*; end that first"):
        stop._end(vm_dir, "router") if how == "a role" else stop._sweep(vm_dir)


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.FORBIDDEN, "is another user's; end it as its owner"),
        (Outcome.STAYS, "does not die; it is in a system"),
    ],
)
def test_silent_supervisord_that_stays_is_told_with_its_cause(
    outcome: Outcome, told: str, heir: Callable[[], Identity], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "supervisords_of", lambda _: [heir()])
    monkeypatch.setattr(ending, "kill_and_wait", lambda *_: outcome)
    with pytest.raises(Unavailable, match=rf"process \d+ .* does not answer, and {told}"):
        stop.end_silent_supervisord(VmDir(tmp_path))
