"""``snsctl why``: the journal of this machine's VMs, as a story."""

from datetime import date
from pathlib import Path

import click

from snsnode.base.errors import UsageError
from snsnode.base.ids import VmName
from snsnode.cli import machine
from snsnode.cli.named import named
from snsnode.cli.options import shared
from snsnode.cli.streams import complain, tell, tell_json
from snsnode.control import story
from snsnode.control.local import is_local, why_not_here
from snsnode.node.paths import VmDir
from snsnode.observe import journal
from snsnode.observe.journal import Entry

HELP = """
Show who restarted whom, when, for what cause and how long it took, newest last.

VM is one of the spec; without it, all that live on this machine.
"""


@click.command(help=HELP)
@click.argument("vm", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the entries as they are, one JSON object a line.")
@click.option(
    "--last",
    type=click.IntRange(1, 1_000_000),
    default=50,
    show_default=True,
    metavar="N",
    help="Only the newest N.",
)
@shared
def command(
    vm: str | None, as_json: bool, last: int, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]
) -> int:
    """Tell the journal; return the exit code."""
    here = machine.read(spec_path, home, vms, warn=False)
    names = named(here, (vm,) if vm is not None else ())
    local = tuple(name for name in names if is_local(here.spec.vms[name].address))
    if vm is not None and not local:
        address = here.spec.vms[names[0]].address
        raise UsageError(f"cannot read the journal of {vm}: {why_not_here(address)}")
    histories = [journal.history(_journal(here.home, name)) for name in local]
    entries = [entry for history in histories for entry in history.entries]
    if as_json:
        for entry in sorted(entries, key=lambda entry: entry.at)[-last:]:
            tell_json(story.raw(entry))
    else:
        _tell(here.home, local, entries, last)
    skipped = sum(history.skipped for history in histories)
    if skipped:
        complain(f"snsctl: left out {machine.count(skipped, 'line')} of the journal, which snsnode did not write")
    return 0


def _tell(home: Path, names: tuple[VmName, ...], entries: list[Entry], last: int) -> None:
    for sentence in story.tell(entries)[-last:]:
        tell(story.line(sentence, date.today()))
    if not entries:
        places = ", ".join(str(_journal(home, name)) for name in names) or "no VM of the spec is on this machine"
        tell(f"nothing has happened yet: there is no journal ({places})")


def _journal(home: Path, name: VmName) -> Path:
    return VmDir(home / name).journal
