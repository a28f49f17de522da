"""``snsctl drain``: moves a server's clients to the others, without a failed call."""

from pathlib import Path

import click

from snsnode.base.errors import EXIT_NOT_SO, UsageError
from snsnode.cli import machine
from snsnode.cli.named import pairs
from snsnode.cli.options import Seconds, shared
from snsnode.cli.streams import tell

TIMEOUT_S = 30.0


HELP = """
Send the clients of VM to other servers and let no new ones come, until 'snsctl undrain VM'.

The server runs on, also after a restart or a failover, and serves as a last resort. Returns when no client is
left; exit 1 where some stay, because there is no other server or they did not leave in time.
"""


@click.command(help=HELP)
@click.argument("names", metavar="VM...", nargs=-1)
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(0.0, 3600.0),
    default=TIMEOUT_S,
    metavar="SECONDS",
    help="Wait at most so long for the clients to leave, 0 to 3600.  [default: 30]",
)
@shared
def command(
    names: tuple[str, ...], timeout_s: float, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]
) -> int:
    """Drain VMs; return the exit code."""
    here = machine.read(spec_path, home, vms, warn=False)
    if not names and not vms:
        raise UsageError("cannot drain without a VM: write 'snsctl drain VM'")
    from snsnode.control.drain import drain

    left = [vm for vm in pairs(here, names, "drain") if not drain(vm, timeout_s, tell)]
    return EXIT_NOT_SO if left else 0
