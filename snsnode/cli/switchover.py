"""``snsctl switchover``: makes a server the available one."""

from pathlib import Path

import click

from snsnode.base.errors import UsageError
from snsnode.cli import machine
from snsnode.cli.named import pairs
from snsnode.cli.options import shared
from snsnode.cli.streams import tell

HELP = """
Make the server of VM the available one of every router that answers, now; clients that come go there.

It stays so until it fails, leaves or another one is chosen. Those who are elsewhere stay; to move them, drain
their server. Not with 'selection: spread', where every server is available.
"""


@click.command(help=HELP)
@click.argument("name", metavar="VM")
@shared
def command(name: str, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> int:
    """Switch over to a VM; return the exit code."""
    here = machine.read(spec_path, home, vms, warn=False)
    [vm] = pairs(here, (name,), "switch over to")
    if here.spec.selection == "spread":
        raise UsageError(
            f"cannot switch over to {name}: with 'selection: spread' every server is available; to keep clients "
            "away from one, 'snsctl drain' it"
        )
    from snsnode.control.drain import switch_over

    switch_over(vm, here.endpoints("router"), tell)
    return 0
