"""``snsctl undrain``: ends what ``snsctl drain`` began."""

from pathlib import Path

import click

from snsnode.base.errors import UsageError
from snsnode.cli import machine
from snsnode.cli.named import pairs
from snsnode.cli.options import shared
from snsnode.cli.streams import tell

HELP = "Let clients come to VM again. Nothing else ends a drain: no start, restart or reboot."


@click.command(help=HELP)
@click.argument("names", metavar="VM...", nargs=-1)
@shared
def command(names: tuple[str, ...], spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> int:
    """Undrain VMs; return the exit code."""
    here = machine.read(spec_path, home, vms, warn=False)
    if not names and not vms:
        raise UsageError("cannot undrain without a VM: write 'snsctl undrain VM'")
    from snsnode.control.drain import undrain

    for vm in pairs(here, names, "undrain"):
        undrain(vm, tell)
    return 0
