"""Replays what was recorded of a cluster: the judge and the machine must do and remember the very same again.

A recording that was altered is refused: a line that is missing, a look that leads to another memory or action.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from snsnode.guard import judge as judging
from snsnode.guard import machine, times, view
from snsnode.guard import table as tables
from snsnode.guard.invariants import by_judge, by_machine
from snsnode.guard.judge import Action, Memory
from snsnode.guard.table import Row
from snsnode.guard.times import Times
from snsnode.guard.view import Me, View
from snsnode.node.places import Seen
from snsnode.node.process import Identity
from tests.chaos.recorder import digest

PROBLEMS_MAX = 20
_CLASSES: dict[str, Any] = {
    found.__name__: found
    for found in (
        Identity, Seen, View, view.Place, Me, times.Times, judging.Held, Memory, tables.Act, machine.State,
        machine.Phase, machine.Cause, machine.Rules, machine.Tick, machine.Answered, machine.Missed,
        machine.Died, machine.Cleared, machine.Failed, machine.Beat, machine.Clear, machine.Launch,
    )
}  # fmt: skip
_MACHINES = {"Seen": machine.Seen}  # two classes have this name


@dataclass(frozen=True, slots=True)
class Look:
    """One look of the judge as it was recorded."""

    at_s: float
    me: Me
    place: str  # "" for the pair's table, else the place that the table is of
    view: View
    settings: Times
    memory: Memory
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a partner's machine as it was recorded; ``me`` is who watches."""

    at_s: float
    me: str
    before: machine.State
    event: machine.Event
    after: machine.State
    actions: tuple[machine.Action, ...]
    wanted: bool


@dataclass
class Replayed:
    """What a replay saw; without ``problems`` all was as it had been recorded."""

    files: int = 0
    looks: int = 0
    steps: int = 0
    acts: int = 0  # looks and steps after which something was done
    full: int = 0  # recordings that ended at their bound
    problems: list[str] = field(default_factory=list)
    stories: list[tuple[str, list[Look | Step]]] = field(default_factory=list)  # by process: "VM program pid"

    def __str__(self) -> str:
        told = (
            f"replayed {self.looks:,} looks and {self.steps:,} steps of {self.files} processes, "
            f"{self.acts:,} of them with an action"
        )
        return told + (f"; {self.full} recordings reached their bound" if self.full else "")


class Altered(Exception):
    """A recording is not what a process wrote."""


def replay(folder: Path) -> Replayed:
    """Replay every recording in ``folder``."""
    done = Replayed()
    for file in sorted(folder.glob("*.jsonl")):
        done.files += 1
        vm, program, pid, _, _ = file.name.split(".")
        story: list[Look | Step] = []
        try:
            for found in _File(file).replayed():
                if found is None:
                    done.full += 1
                    continue
                story.append(found)
                done.acts += bool(found.actions)
                done.looks += isinstance(found, Look)
                done.steps += isinstance(found, Step)
        except Altered as error:
            if len(done.problems) < PROBLEMS_MAX:
                done.problems.append(f"{file.name}: {error}")
        done.stories.append((f"{vm} {program} {pid}", story))
    return done


class _File:
    """One recording, and where each of its streams stands."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._memories: dict[tuple[str, ...], Any] = {}
        self._seen: dict[tuple[str, ...], tuple[View, Times]] = {}
        self._rules: dict[tuple[str, ...], machine.Rules] = {}

    def replayed(self) -> Iterator[Look | Step | None]:
        """Yield each look and step; None where the recording ended at its bound.

        Raises:
            Altered: it does not lead to what was recorded.
        """
        lines = self._file.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1]):  # what follows the last newline was cut off by a death
            try:
                count, kind, *rest = json.loads(line)
                if count != number:
                    raise Altered(f"line {number}: a line is missing, or one too many")
                if kind == "full":
                    yield None
                    return
                stream, at_s, words = tuple(rest[:3]), rest[3], rest[4:]
                match kind:
                    case "look":
                        yield self._look(stream, at_s, *words)
                    case "same":
                        yield self._same(stream, at_s)
                    case "step":
                        yield self._step(stream, at_s, *words)
                    case _:
                        raise Altered(f"unknown word {kind!r}")
            except Altered as error:
                raise Altered(f"line {number}: {error}") from None
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise Altered(f"line {number} cannot be read: {error!r}") from None

    def _look(
        self, stream: tuple[str, ...], at_s: float, memory: Any, seen: Any, settings: Any, after: Any, actions: Any
    ) -> Look:
        before = self._before(stream, memory)
        self._seen[stream] = _unpacked(seen), _unpacked(settings)
        return self._judge(stream, at_s, before, _unpacked(after), _unpacked(actions))

    def _same(self, stream: tuple[str, ...], at_s: float) -> Look:
        memory, actions = self._memories[stream]
        return self._judge(stream, at_s, memory, Memory(memory.held, at_s), actions)

    def _judge(
        self, stream: tuple[str, ...], at_s: float, before: Memory, after: Memory, actions: tuple[Action, ...]
    ) -> Look:
        (_, name, place), (seen, settings) = stream, self._seen[stream]
        me, table = Me(name), _table(place)
        found = judging.judge(before, seen, me, at_s, settings, table)
        if found != (after, actions):
            raise Altered(f"the judge gives {found}, recorded is {(after, actions)}, for {seen} of the {name}")
        broken = by_judge(before, seen, me, at_s, settings, after, actions, table)
        if broken:
            raise Altered(f"{broken} for {seen} of the {name}")
        self._memories[stream] = after, actions
        return Look(at_s, me, place, seen, settings, after, actions)

    def _step(
        self, stream: tuple[str, ...], at_s: float, state: Any, event: Any, rules: Any, wanted: bool, phase: str,
        after: str, actions: Any,
    ) -> Step:  # fmt: skip
        before = self._before(stream, state)
        if rules is not None:
            self._rules[stream] = _unpacked(rules)
        happened, by = _unpacked(event, _MACHINES), self._rules[stream]
        found, does = machine.step(before, happened, at_s, by, wanted=wanted)
        if (found.phase.name, digest(found), does) != (phase, after, _unpacked(actions)):
            raise Altered(f"the machine goes to {found} and does {does}, recorded is {phase} after {happened}")
        broken = by_machine(before, happened, at_s, by, wanted, found, does)
        if broken:
            raise Altered(f"{broken} after {happened} of the {stream[1]}")
        self._memories[stream] = found, does
        return Step(at_s, stream[1], before, happened, found, does, wanted)

    def _before(self, stream: tuple[str, ...], told: Any) -> Any:
        """Return the memory before this line: the one after the line before, or a fresh one."""
        known = self._memories.get(stream)
        if told is None:
            if known is None:
                raise Altered("begins without a memory")
            return known[0]
        memory = _unpacked(told)
        fresh = (Memory(), machine.State())
        if memory not in fresh:  # only a new observer remembers nothing; nobody else sets a memory
            raise Altered(f"the memory was set from outside: {memory}")
        return memory


def _table(place: str) -> tuple[Row, ...]:
    """Return the pair's rows, or those of a place that has a table of its own."""
    if not place:
        return tables.TABLE
    rows: tuple[Row, ...] = getattr(import_module(f"snsnode.guard.{place}"), f"{place.upper()}_TABLE")
    return rows


def _unpacked(value: Any, more: dict[str, Any] | None = None) -> Any:
    if not isinstance(value, list):
        return value
    name, *parts = value
    if name == "tuple":
        return tuple(_unpacked(part, more) for part in parts)
    if name == "frozenset":
        return frozenset(_unpacked(part, more) for part in parts)
    if name == "Action":
        return Action(*(_unpacked(part) for part in parts))
    made = (more or {}).get(name) or _CLASSES[name]
    return made[parts[0]] if hasattr(made, "__members__") else made(*(_unpacked(part) for part in parts))
