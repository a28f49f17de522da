"""``snsctl resume``: ends what ``snsctl pause`` began."""

from pathlib import Path

import click

from snsnode.cli import machine
from snsnode.cli.named import pairs
from snsnode.cli.options import shared
from snsnode.cli.pause import record
from snsnode.cli.streams import tell
from snsnode.node import intent
from snsnode.observe import events

HELP = "Restart the pair of VM automatically again; without VM, every paused pair of this machine."


@click.command(help=HELP)
@click.argument("names", metavar="[VM]...", nargs=-1)
@shared
def command(names: tuple[str, ...], spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> int:
    """Resume pairs; return the exit code."""
    here = machine.read(spec_path, home, vms, warn=False)
    for vm in pairs(here, names, "resume"):
        if intent.is_paused(vm.dir):
            intent.resume(vm.dir)
            record(vm, events.Resumed())
            tell(f"{vm.name}: resumed")
        elif names or vms:
            tell(f"{vm.name}: was not paused")
    return 0
