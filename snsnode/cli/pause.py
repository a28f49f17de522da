"""``snsctl pause``: suspends all restarting of a pair, for maintenance or a debugger."""

from pathlib import Path

import click

from snsnode.base.errors import UsageError
from snsnode.cli import machine
from snsnode.cli.named import pairs
from snsnode.cli.options import shared
from snsnode.cli.streams import tell
from snsnode.control.local import LocalVm
from snsnode.node import intent
from snsnode.observe import events
from snsnode.observe.events import Event
from snsnode.observe.journal import Journal

HELP = """
Suspend all restarting of the pair of VM, until 'snsctl resume VM'.

What runs goes on; what ends, or hangs, stays so. The pause survives a reboot, and status shows it.
"""


@click.command(help=HELP)
@click.argument("names", metavar="VM...", nargs=-1)
@shared
def command(names: tuple[str, ...], spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> int:
    """Pause pairs; return the exit code."""
    here = machine.read(spec_path, home, vms, warn=False)
    if not names and not vms:
        raise UsageError("cannot pause without a VM: write 'snsctl pause VM'")
    for vm in pairs(here, names, "pause"):
        if intent.is_paused(vm.dir):
            tell(f"{vm.name}: is paused already")
            continue
        intent.pause(vm.dir)
        record(vm, events.Paused())
        tell(f"{vm.name}: paused; nothing is restarted until 'snsctl resume {vm.name}'")
    return 0


def record(vm: LocalVm, event: Event) -> None:
    """Write what the operator did into the VM's journal."""
    vm.dir.make()
    Journal(vm.dir.journal, vm.name, "snsctl").write(event)
