"""The checks of what happened. Pure: histories in, sentences about what must not be out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from tests.chaos.outside import Answer


def check_stored(stored: Sequence[str], acknowledged: Iterable[str]) -> list[str]:
    """Each acknowledged text is stored, and none is stored twice."""
    counts = Counter(stored)
    problems = [f"acknowledged and not stored: {text}" for text in acknowledged if not counts[text]]
    return problems + [f"stored {count} times: {text}" for text, count in counts.items() if count > 1]


def check_seen(seen: Sequence[str], stored: Sequence[str]) -> list[str]:
    """A reader of everything saw exactly what is stored, each once, in the order of the store."""
    counts = Counter(seen)
    problems = [f"seen {count} times: {text}" for text, count in counts.items() if count > 1]
    problems += [f"never seen: {text}" for text in stored if not counts[text]]
    problems += [f"seen and not stored: {text}" for text in set(seen) - set(stored)]
    if not problems and list(seen) != list(stored):
        at = next(index for index, pair in enumerate(zip(seen, stored, strict=True)) if pair[0] != pair[1])
        problems.append(f"seen out of order: {seen[at]} where {stored[at]} was due")
    return problems


def check_answers(answers: Sequence[Answer]) -> list[str]:
    """The epochs that a server answers with never fall, and no two processes answer with one epoch."""
    problems: list[str] = []
    last: dict[str, Answer] = {}
    owner: dict[tuple[str, int], int] = {}
    for found in answers:
        before = last.get(found.vm)
        if before is not None and found.epoch < before.epoch:
            problems.append(f"{found.vm}: epoch {found.epoch} answered after epoch {before.epoch}")
        pid = owner.setdefault((found.vm, found.epoch), found.pid)
        if pid != found.pid:
            problems.append(f"{found.vm}: processes {pid} and {found.pid} both answered as epoch {found.epoch}")
        last[found.vm] = found
    return problems


def check_served(epochs: Mapping[str, Sequence[int]]) -> list[str]:
    """The epochs that each server's journal says to have served rise strictly."""
    problems: list[str] = []
    for vm, served in epochs.items():
        for before, after in pairwise(served):
            if after <= before:
                problems.append(f"{vm}: served as epoch {after} after epoch {before}")
    return problems
