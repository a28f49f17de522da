"""``snsctl doctor``: checks what needs the real machine."""

from dataclasses import asdict
from pathlib import Path

import click

from snsnode.base import trust
from snsnode.base.errors import EXIT_CONFIG, EXIT_NOT_SO, ConfigError
from snsnode.cli import machine
from snsnode.cli.options import shared, takes_template
from snsnode.cli.streams import tell, tell_json
from snsnode.control import doctor
from snsnode.control.findings import Finding, Patient
from snsnode.control.local import check_cluster, is_local

HELP = """
Check Python, kernel, home, generated files, addresses, ports and store. Changes nothing.

Exit 1 where something will not work, 78 where the home is not ours alone; warnings alone exit 0.
"""


@click.command(help=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@takes_template
@shared
def command(
    as_json: bool, template_path: Path | None, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]
) -> int:
    """Examine this machine; return the exit code."""
    here = machine.read(spec_path, home, vms, looks=False)
    try:
        trust.check_home(here.home)
    except ConfigError as error:  # nothing in it is read
        _print(doctor.examine_without(here.home.absolute(), error), as_json)
        return EXIT_CONFIG
    check_cluster(here.home, here.spec.cluster)
    local = tuple(name for name in here.vms if is_local(here.spec.vms[name].address))
    findings = doctor.examine(Patient(here.spec, here.path, here.home.absolute(), local, template_path))
    _print(findings, as_json)
    return EXIT_NOT_SO if any(finding.level == "FAIL" for finding in findings) else 0


def _print(findings: list[Finding], as_json: bool) -> None:
    if as_json:
        tell_json([asdict(finding) for finding in findings])
        return
    for finding in findings:
        tell(_line(finding))


def _line(finding: Finding) -> str:
    fix = f"; {finding.fix}" if finding.fix else ""
    return f"{finding.level:<4}  {finding.what}: {finding.detail}{fix}"
