"""``snsctl status``: the whole cluster as it is."""

import time
from contextlib import suppress
from pathlib import Path

import click

from snsnode.base import trust
from snsnode.base.errors import EXIT_NOT_SO, SnsError
from snsnode.base.ids import VmName
from snsnode.cli.options import home_of, selected, shared
from snsnode.cli.specfile import load_spec, spec_path_of
from snsnode.cli.status_page import page
from snsnode.cli.streams import output, tell_json
from snsnode.control import outline as outlines
from snsnode.control.answers import Status
from snsnode.control.local import check_cluster
from snsnode.control.outline import Outline
from snsnode.control.status import Question, look, time_left_s
from snsnode.node.config import RoleName, load

WATCH_EVERY_S = 1.0
WATCH_ASK_S = 1.0


HELP = "Show routers, servers and their processes. Exit 0: one server is AVAILABLE and none is DOWN."


@click.command(help=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--watch", is_flag=True, help="Show it again each second, until interrupted.")
@shared
def command(as_json: bool, watch: bool, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> int:
    """Show the status; return the exit code."""
    question = question_of(spec_path, home_of(home), vms)
    if watch:
        return _watch(question, as_json)
    status = look(question, time_left_s())
    _show(status, as_json)
    return 0 if status.is_well else EXIT_NOT_SO


def _watch(question: Question, as_json: bool) -> int:
    """Show the status again and again, until an interrupt; return when nobody reads it any more."""
    out = output()
    if not as_json and out.isatty():
        with out.alternate_screen() as screen:
            while out.lost is None:
                screen.show(page(look(question, WATCH_ASK_S)))
                time.sleep(WATCH_EVERY_S)
    while out.lost is None:
        _show(look(question, WATCH_ASK_S), as_json)
        time.sleep(WATCH_EVERY_S)
    return 0


def _show(status: Status, as_json: bool) -> None:
    if as_json:
        tell_json(status.to_dict())
        return
    for line in page(status):
        output().write_styled([*line, ("\n", "")])


def question_of(spec_path: Path | None, home: Path, vms: tuple[str, ...]) -> Question:
    """Return what ``snsctl status`` asks; raises as ``load_spec``, ``check_home`` and ``check_cluster``."""
    path = spec_path_of(spec_path)
    if not trust.is_readable(home):
        return _from_afar(path, home, vms)
    trust.check_home(home)
    outline = _outline(path, home)
    check_cluster(home, outline.cluster)
    notes: tuple[str, ...] = ()
    if outline.separate_data:
        notes = ("separate_data: each machine's servers have posts of their own",)
    if moved := _moved(outline, home):
        notes += (
            f"the spec has other addresses than was generated for {', '.join(moved)}; run 'snsctl generate'",
        )
    return Question(
        outline.cluster,
        outline.endpoints("router"),
        outline.endpoints("master"),
        home,
        notes,
        frozenset(selected(outline.vms, vms)),
        outline.selection,
    )


def _from_afar(path: Path, home: Path, vms: tuple[str, ...]) -> Question:
    """Return what somebody may ask who may not look into the home: the routers and masters, by the spec."""
    outline = outlines.outline_of(load_spec(path)[0])
    note = f"the home {home} cannot be read by this user: this is what the network tells; its owner sees all"
    return Question(
        outline.cluster,
        outline.endpoints("router"),
        outline.endpoints("master"),
        home,
        (note,),
        frozenset(selected(outline.vms, vms)),
        outline.selection,
        looks=False,
    )


def _moved(outline: Outline, home: Path) -> list[VmName]:
    """Return the VMs that run, or would, elsewhere than the spec says: it was edited, and nothing generated."""
    moved: dict[VmName, None] = {}
    roles: tuple[RoleName, ...] = ("router", "master")
    for role in roles:
        for endpoint in outline.endpoints(role):
            with suppress(SnsError):  # nothing was generated for it, or nothing readable
                config = load(home / endpoint.vm)
                if role not in config.roles or config.endpoint(role) != endpoint:
                    moved[endpoint.vm] = None
    return list(moved)


def _outline(path: Path, home: Path) -> Outline:
    """Return what is to be known of the spec; raises as ``load_spec``."""
    digest = outlines.digest_of(path)
    known = outlines.kept(home, digest) if digest is not None else None
    if known is not None:
        return known
    found = outlines.outline_of(load_spec(path)[0])
    if digest is not None and digest == outlines.digest_of(path):  # nobody edited it meanwhile
        outlines.keep(home, digest, found)
    return found
