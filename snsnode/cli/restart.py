"""``snsctl restart``: stop and start, drained, so that no client's call fails."""

from pathlib import Path

import click

from snsnode.base.errors import UsageError
from snsnode.cli import machine
from snsnode.cli.machine import in_parallel
from snsnode.cli.options import shared
from snsnode.cli.streams import tell
from snsnode.node.config import ROLES

HELP = """
Restart ROLE (router, slave or master) on this machine, one VM after the other.

Without ROLE: stop everything of the spec that lives here, then start it.
"""


@click.command(help=HELP)
@click.argument("role", required=False, type=click.Choice(ROLES))
@shared
def command(role: str | None, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> int:
    """Restart what is asked for; return the exit code."""
    here = machine.read(spec_path, home, vms)
    from snsnode.control.start import restart_role, start_roles, start_supervisord
    from snsnode.control.stop import stop_all

    code = here.tell_unknown(here.vms if role is None else here.having(machine.role_named(role)), "restarted")
    if role is None:
        local = here.local()
        in_parallel(lambda vm: stop_all(vm.dir, vm.config.roles), local)
        in_parallel(lambda vm: start_roles(vm, [r for r in vm.config.roles if r != "master"], tell), local)
        return code
    name = machine.role_named(role)
    local = here.local(here.having(name))
    if not local:
        raise UsageError(f"cannot restart a {role}: none of the spec is on this machine")
    for vm in local:
        start_supervisord(vm)
        restart_role(vm, name)
        tell(f"{vm.name} {role}: restarted")
    return code
