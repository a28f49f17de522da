"""The counter that a process shows and another reads: exactly that one's, from its memory."""

import os
import subprocess
import sys

import pytest

from snsnode.node.process import Identity, me
from snsnode.node.progress import Progress, ProgressReader, read_once
from tests.processes import sleeper

SHOWING = """
from snsnode.node.process import me
from snsnode.node.progress import Progress
progress = Progress(me())
for _ in range(int(sys.argv[1])):
    progress.move()
hold()
"""


def test_counter_of_another_process_is_read() -> None:
    reader = ProgressReader()
    with sleeper(SHOWING, "3") as one:
        assert reader.read(one.identity) == 3
        with sleeper(SHOWING, "5") as two:
            assert [reader.read(each.identity) for each in (two, one, two)] == [5, 3, 5]
    assert reader.read(two.identity) == 5  # what it showed last; whether it lives is for others to tell
    assert ProgressReader().read(two.identity) is None


def test_each_move_is_seen() -> None:
    progress, reader = Progress(me()), ProgressReader()
    assert reader.read(me()) is None  # none was made yet
    seen = []
    for _ in range(3):
        progress.move()
        seen.append(reader.read(me()))
    assert seen == [1, 2, 3]


def test_process_that_shows_none_is_looked_at_again() -> None:
    reader = ProgressReader()
    with sleeper() as quiet:
        assert reader.read(quiet.identity) is None
    assert reader.read(quiet.identity) is None
    nobody = Identity(2**22 + 1, 0, "")  # above any pid (proc(5), kernel.pid_max)
    assert reader.read(nobody) is None


def test_counter_of_an_earlier_process_with_this_pid_is_none() -> None:
    with sleeper(SHOWING, "3") as one:
        earlier = Identity(one.identity.pid, one.identity.start_ticks - 1, one.identity.boot_id)
        assert ProgressReader().read(earlier) is None


def test_counter_read_once_is_the_same_and_leaves_no_descriptor() -> None:
    with sleeper(SHOWING, "3") as one:
        before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
        assert [read_once(one.identity) for _ in range(3)] == [3, 3, 3]
        assert read_once(Identity(one.identity.pid, one.identity.start_ticks - 1, one.identity.boot_id)) is None
        assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert read_once(one.identity) is None
    with sleeper() as quiet:
        assert read_once(quiet.identity) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to stop being it")
def test_process_whose_user_changed_lets_its_partner_look() -> None:
    """The kernel then hides /proc/PID/fd, as it does for a Python with capabilities of its own."""
    program = (
        "import ctypes, os; from snsnode.node.process import me; from snsnode.node.progress import Progress;"
        "os.setuid(65534); assert os.stat('/proc/self/fd').st_uid == 0;"
        "progress = Progress(me()); print(os.stat('/proc/self/fd').st_uid)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr) == ("65534\n", "")
