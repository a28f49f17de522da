"""``snsctl store copy``: a store into another one, also of another engine."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from snsnode.base.errors import UsageError
from snsnode.cli import streams
from snsnode.cli.machine import count
from snsnode.cli.options import home_of, shared
from snsnode.control.store_copy import Moved, Progress, move
from snsnode.spec.scalars import parse_store
from snsnode.store.transfer import TABLES

_EVERY_ROWS = 100_000  # a plain line, where there is no terminal


HELP = """
Copy the store FROM into the empty or new store TO, and compare every row of both.

FROM and TO are URLs as in a spec; a relative SQLite path starts at the home. Stop the cluster first. A copy
that was interrupted goes on where it was when it is run again; until it is complete no server opens TO.
"""


@click.command(help=HELP)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option(
    "--from-scratch", is_flag=True, help="Remove what an unfinished copy left in TO, and begin with the first row."
)
@shared
def command(
    source: str,
    target: str,
    from_scratch: bool,
    spec_path: Path | None,
    home: Path | None,
    vms: tuple[str, ...],
) -> int:
    """Copy a store; return the exit code."""
    origin, destination = _checked(source, "FROM"), _checked(target, "TO")
    with streams.unwound_by_signals(), _shown() as tell:  # the bars hide the cursor
        moved = asyncio.run(move(origin, destination, home_of(home).absolute(), tell, from_scratch=from_scratch))
    streams.tell(_summary(moved, destination))
    return 0


def _checked(url: str, name: str) -> str:
    """Refuse what a spec would refuse, a password above all; it is never repeated."""
    try:
        return parse_store(url)
    except ValueError as error:
        raise UsageError(f"cannot take {name}: {error}") from None


def _summary(moved: Moved, destination: str) -> str:
    counts = zip(TABLES, moved.contents.rows, strict=True)
    rows = ", ".join(count(number, table.name.removesuffix("s")) for table, number in counts)
    resumed = f" ({moved.resumed} had been copied before)" if moved.resumed else ""
    return f"copied {rows}{resumed}; every row was compared. Now write store: {destination} into the spec"


@contextmanager
def _shown() -> Iterator[Callable[[Progress], None]]:
    """Yield what shows the progress: a bar on a terminal, else a line now and then."""
    if not streams.output().isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(file=streams.output().bare)) as bars:  # no text in it is from elsewhere
        tasks = {
            (verb, table.name): bars.add_task(f"{verb} {table.name}", total=None, start=False)
            for verb in ("copying", "comparing")
            for table in TABLES
        }

        def tell(progress: Progress) -> None:
            task = tasks[progress.verb, progress.table]
            bars.start_task(task)
            bars.update(task, completed=progress.done, total=progress.total)

        yield tell


def _lines() -> Callable[[Progress], None]:
    said: dict[tuple[str, str], int] = {}

    def tell(progress: Progress) -> None:
        step = progress.done // _EVERY_ROWS if progress.done < progress.total else -1
        if progress.done and said.get((progress.verb, progress.table), 0) != step:
            said[progress.verb, progress.table] = step
            streams.tell(f"{progress.verb} {progress.table}: {progress.done} of {progress.total}")

    return tell
