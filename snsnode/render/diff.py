"""Planned changes as a unified diff, for people and for ``patch``-reading tools. Called by ``cli``; pure."""

import difflib
from collections.abc import Iterator, Mapping, Sequence

from snsnode.render.plan import FILENAMES, RETIRED, Change

NOWHERE = "/dev/null"


def diff(changes: Sequence[Change], on_disk: Mapping[str, str]) -> str:
    """Return the unified diff of ``changes``; a VM that is retired shows as the removal of its files."""
    return "".join(line for change in changes for line in _lines(change, on_disk))


def _lines(change: Change, on_disk: Mapping[str, str]) -> Iterator[str]:
    if change.name == RETIRED and change.after is not None:
        yield f"# {change.vm}: no longer in the spec; 'snsctl start' ends it and clears its folder\n"
        for name in FILENAMES:
            path = f"{change.vm}/{name}"
            if name != RETIRED and path in on_disk:
                yield from _unified(path, on_disk[path], None)
        return
    if change.name == RETIRED:
        yield f"# {change.vm}: in the spec again\n"
    yield from _unified(change.path, change.before, change.after)


def _printable(text: str | None) -> str | None:
    """Replace bytes that are no UTF-8, which ``disk.read`` hands on as surrogates."""
    return text and text.encode(errors="surrogateescape").decode(errors="replace")


def _unified(path: str, before: str | None, after: str | None) -> Iterator[str]:
    before, after = _printable(before), _printable(after)
    lines = difflib.unified_diff(
        (before or "").splitlines(keepends=True),
        (after or "").splitlines(keepends=True),
        fromfile=NOWHERE if before is None else path,
        tofile=NOWHERE if after is None else path,
    )
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
