"""What was recorded is replayed; a recording that was altered is refused, as is what the explorer cannot do."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snsnode.guard import judge as judging
from snsnode.guard import machine
from snsnode.guard.judge import Memory
from snsnode.guard.table import TABLE
from snsnode.guard.times import SHIPPED
from snsnode.guard.view import Me, View
from snsnode.node.places import EMPTY, Seen
from snsnode.node.process import Identity
from tests.chaos.recorder import Recorder
from tests.chaos.replay import replay
from tests.explorer.replay import explained

OURS, MASTER, NEXT = (Identity(pid, 1, "boot") for pid in (11, 22, 33))
RULES = machine.Rules.of(SHIPPED, sends=True)
ALONE = View(EMPTY, Seen(MASTER, True, "S"), EMPTY, ours=OURS, alone=True)


def record(folder: Path, views: list[View]) -> Path:
    """Record a spare that sees ``views``, and then, as a master's slave would, a partner that is killed."""
    recorder = Recorder(folder, "vm2", "master")
    judge, step = recorder.judging(judging.judge, TABLE), recorder.stepping(machine.step)
    memory, state = Memory(), machine.State()
    for number, view in enumerate(views):
        memory, _ = judge(memory, view, Me.SPARE, 100 + number / 10, SHIPPED)
    story = [
        machine.Tick(), machine.Seen(MASTER), machine.Answered(MASTER), machine.Tick("S", 1), machine.Died(MASTER),
    ]  # fmt: skip
    for number, event in enumerate(story):
        state, _ = step(state, event, 200 + number / 10, RULES, wanted=True)
    [file] = folder.glob("*.jsonl")
    return file


def test_what_was_recorded_is_replayed(tmp_path: Path) -> None:
    record(tmp_path, [ALONE] * 5)
    done = replay(tmp_path)
    assert (done.problems, done.looks, done.steps) == ([], 5, 5)
    assert explained(done, SHIPPED).problems == {}


def test_recorder_keeps_no_descriptor_that_a_reload_would_close(tmp_path: Path) -> None:
    file = record(tmp_path, [ALONE])
    kept = [
        link
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink() and os.path.realpath(link) == str(file)
    ]
    assert kept == []


def test_what_a_death_cut_off_is_no_alteration(tmp_path: Path) -> None:
    file = record(tmp_path, [ALONE])
    file.write_bytes(file.read_bytes() + b"[9, 'look', 3")
    assert replay(tmp_path).problems == []


def _look(lines: list[Any]) -> None:
    lines[0][7][2][1] = ["Identity", 99, 1, "boot"]  # the master that was seen: another row would hold of it


def _time(lines: list[Any]) -> None:
    lines[0][5] -= 5.0


def _action(lines: list[Any]) -> None:
    lines[-1][-1] = ["tuple"]


def _memory(lines: list[Any]) -> None:
    lines[-1][-2] = "0" * 16


def _event(lines: list[Any]) -> None:
    lines[-1][7] = ["Missed", ["Identity", 22, 1, "boot"]]


def _gap(lines: list[Any]) -> None:
    del lines[1]


def _end(lines: list[Any]) -> None:
    lines[0][9] = ["Memory", ["tuple"], 100.0]


@pytest.mark.parametrize("alter", [_look, _time, _action, _memory, _event, _gap, _end])
def test_recording_that_was_altered_is_refused(tmp_path: Path, alter: Callable[[list[Any]], None]) -> None:
    file = record(tmp_path, [ALONE] * 3)
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    alter(lines)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(replay(tmp_path).problems) == 1


def test_change_that_the_explorer_cannot_make_is_told(tmp_path: Path) -> None:
    """A spare that is alone never has its slave back; a place changes hands only by being empty."""
    back = replace(ALONE, alone=False, slave=Seen(OURS, True, "S"))
    record(tmp_path, [ALONE, back])
    found = explained(replay(tmp_path), SHIPPED, within_s=0.0)
    assert [what.partition(":")[0] for what in found.problems] == ["spare"]
