"""``snsctl backup``: a copy of the store while the cluster runs."""

from pathlib import Path

import click

from snsnode.cli import machine
from snsnode.cli.options import shared
from snsnode.cli.streams import tell, unwound_by_signals
from snsnode.control.backup import back_up

HELP = """
Write a checked copy of this machine's SQLite store into FILE; the cluster may be running.

It holds what was acknowledged before the backup began. FILE is whole, or it is not there.
"""


@click.command(help=HELP)
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--force", is_flag=True, help="Replace FILE where it exists.")
@shared
def command(file: Path, force: bool, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> int:
    """Back up the store; return the exit code."""
    here = machine.read(spec_path, home, vms, warn=False)
    with unwound_by_signals():  # what was begun beside FILE is removed
        report = back_up(here.spec.store, here.home.absolute(), file.absolute(), force=force)
    tell(
        f"wrote {file}: {machine.count(report.users, 'user')}, {machine.count(report.posts, 'post')}, "
        f"last post {report.last_post_id}, {report.size_bytes / 2**20:.1f} MiB, in {report.took_s:.2f} s"
    )
    return 0
