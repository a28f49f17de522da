"""``snsctl generate``: the spec into one folder per VM."""

from collections.abc import Sequence
from pathlib import Path

import click

from snsnode.base import trust
from snsnode.base.errors import EXIT_NOT_SO
from snsnode.cli.options import home_of, selected, shared, takes_template
from snsnode.cli.specfile import load_spec, show_warnings, spec_path_of
from snsnode.cli.streams import output, tell
from snsnode.render import diff, disk, plan, readback, template
from snsnode.render.plan import RETIRED, Change

HELP = "Write supervisord.conf, node.json and cluster.json of every VM of the cluster spec SPEC below the home."


@click.command(help=HELP)
@click.argument("spec", required=False, type=click.Path(path_type=Path, readable=False))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if what is on disk differs.")
@click.option("--diff", "show_diff", is_flag=True, help="Write nothing; show what would change.")
@click.option(
    "--write-template",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Write the installed template to the new file FILE, to be edited and given by --template; nothing else.",
)
@takes_template
@shared
def command(
    spec: Path | None,
    check: bool,
    show_diff: bool,
    write_template: Path | None,
    template_path: Path | None,
    spec_path: Path | None,
    home: Path | None,
    vms: tuple[str, ...],
) -> int:
    """Generate the files of the VMs; return the exit code."""
    if write_template is not None:
        template.write(write_template)
        tell(f"wrote {write_template}; edit it, and give it to 'generate', 'start' and 'doctor' by --template")
        return 0
    path = spec_path_of(spec or spec_path)
    cluster, warnings = load_spec(path)
    names = selected(cluster.vms, vms)
    show_warnings(warnings, path)
    place = home_of(home)
    trust.check_home(place)
    disk.check_home(place, names)
    on_disk = disk.read(place)
    changes = plan.plan(cluster, template.chosen(template_path), on_disk, names if vms else None)
    readback.check_changes(cluster, changes, on_disk, place)
    if show_diff:
        output().write(diff.diff(changes, on_disk))
    elif check:
        _report_differences(place, changes)
    else:
        disk.write(place, changes, names)
        _report_written(place, changes)
    return EXIT_NOT_SO if check and changes else 0


def _report_differences(home: Path, changes: Sequence[Change]) -> None:
    for change in changes:
        tell(f"differs: {home / change.path}")
    if not changes:
        tell(f"{home} is up to date")


def _report_written(home: Path, changes: Sequence[Change]) -> None:
    for change in changes:
        if change.name == RETIRED and change.after is not None:
            tell(f"retired {change.vm}: 'snsctl start' ends what runs of it and clears {home / change.vm}")
        else:
            tell(f"{'removed' if change.after is None else 'wrote'} {home / change.path}")
    if not changes:
        tell(f"{home} is up to date")
