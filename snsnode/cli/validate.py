"""``snsctl validate``: every problem of a spec at once."""

from pathlib import Path

import click

from snsnode.cli.machine import count
from snsnode.cli.options import selected, shared
from snsnode.cli.specfile import load_spec, show_warnings, spec_path_of
from snsnode.cli.streams import tell

HELP = "Report every problem of the cluster spec SPEC as FILE:LINE:COLUMN, and exit 78 if there is one."


@click.command(help=HELP)
@click.argument("spec", required=False, type=click.Path(path_type=Path, readable=False))
@shared
def command(spec: Path | None, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> None:
    """Validate the spec."""
    path = spec_path_of(spec or spec_path)
    cluster, warnings = load_spec(path)
    selected(cluster.vms, vms)
    show_warnings(warnings, path)
    routers = sum(vm.router is not None for vm in cluster.vms.values())
    servers = sum(vm.server is not None for vm in cluster.vms.values())
    counts = (count(len(cluster.vms), "VM"), count(routers, "router"), count(servers, "server"))
    tell(f"{path}: ok, {', '.join(counts)}")
