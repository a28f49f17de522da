"""``snsctl stop``: a durable wish; nothing comes back until it is started again."""

from pathlib import Path

import click

from snsnode.base.errors import UsageError
from snsnode.cli import machine
from snsnode.cli.machine import in_parallel
from snsnode.cli.options import shared
from snsnode.cli.streams import tell
from snsnode.node.config import ROLES
from snsnode.node.paths import VmDir

HELP = """
Stop ROLE (router, slave or master) on this machine; its partner leaves it alone until it is started.

Without ROLE: everything of the spec on this machine, its supervisords too; returns when no process is left.
"""


@click.command(help=HELP)
@click.argument("role", required=False, type=click.Choice(ROLES))
@click.option("--at", metavar="ADDRESS", help="Only VMs at this address.")
@shared
def command(
    role: str | None, at: str | None, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]
) -> int:
    """Stop what is asked for; return the exit code."""
    here = machine.read(spec_path, home, vms, warn=False)
    from snsnode.control.stop import retire, stop_all, stop_role

    if role is not None:
        name = machine.role_named(role)
        wanted = here.having(name, at)
        local = [vm_dir for vm_dir in here.folders() if vm_dir.path.name in wanted]
        if not local:
            raise UsageError(
                f"cannot stop the {role} of {', '.join(wanted)}: {here.home} has no folder of it; it lives on "
                "another machine, or was never generated"
            )

        def stop(vm_dir: VmDir) -> None:
            ran = stop_role(vm_dir, name)
            tell(f"{vm_dir.path.name} {role}: {'stopped' if ran else 'was not running; it stays stopped'}")

        in_parallel(stop, local)
        return 0

    def stop_vm(vm_dir: VmDir) -> None:
        if vm_dir.retired.exists():
            retire(vm_dir)
        else:
            stop_all(vm_dir, here.roles(vm_dir))
        tell(f"{vm_dir.path.name}: stopped")

    # Whatever of this cluster has a folder here, also what an edit of the spec has dropped or moved away.
    chosen = here.folders()
    if vms or at is not None:
        names = {name for name in here.vms if at in (None, here.spec.vms[name].address)}
        chosen = [vm_dir for vm_dir in chosen if vm_dir.path.name in names]
    in_parallel(stop_vm, chosen)
    if not chosen:
        tell(f"nothing was stopped: {here.home} has no folder of what was asked for")
    return 0
