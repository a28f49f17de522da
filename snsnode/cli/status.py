"""``snsctl status``: the whole cluster as it is."""

import json
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snsnode.base.errors import EXIT_NOT_SO, SnsError
from snsnode.base.ids import VmName
from snsnode.cli.machine import count
from snsnode.cli.options import home_of, selected, shared
from snsnode.cli.specfile import load_spec, spec_path_of
from snsnode.control import outline as outlines
from snsnode.control.answers import Process, RouterStatus, ServerStatus, Status
from snsnode.control.local import check_cluster
from snsnode.control.outline import Outline
from snsnode.control.status import Question, look, time_left_s
from snsnode.node.config import RoleName, load

if TYPE_CHECKING:  # rich is imported where people read: --json does without
    from rich.console import Console, Group
    from rich.table import Table

WATCH_EVERY_S = 1.0
WATCH_ASK_S = 1.0
WIDTH_MIN = 100
WIDTH_PIPED = 160  # columns where there is no terminal: nothing is cut

_STYLES = {"AVAILABLE": "bold green", "STANDBY": "green", "UP": "green", "SUSPECT": "yellow", "DOWN": "bold red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--watch", is_flag=True, help="Show it again each second, until interrupted.")
@shared
def command(as_json: bool, watch: bool, spec_path: Path | None, home: Path | None, vms: tuple[str, ...]) -> int:
    """Show routers, servers and their processes. Exit 0: one server is AVAILABLE and none is DOWN."""
    question = question_of(spec_path, home_of(home), vms)
    if watch:
        _watch(question, as_json)
    status = look(question, time_left_s())
    if as_json:
        click.echo(_json(status))
    else:
        console().print(shown(status))
    return 0 if status.is_well else EXIT_NOT_SO


def console() -> "Console":
    """Return where the status goes: a terminal's own width and colours, a wide plain page for a pipe."""
    from rich.console import Console

    own = shutil.get_terminal_size().columns
    # A narrow terminal may wrap a line; a cut address or state would be worse.
    width = max(own, WIDTH_MIN) if sys.stdout.isatty() else WIDTH_PIPED
    return Console(soft_wrap=False, width=width, highlight=False)


def shown(status: Status) -> "Group":
    """Return the status for people."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("VM", "ROLE", "STATE", "ADDRESS", "PID", "UPTIME", "RESTARTS", ""):
        table.add_column(column, justify="right" if column in ("PID", "UPTIME", "RESTARTS") else "left")
    for router in status.routers:
        *columns, note = _columns(router.process)
        _add(table, router.vm, "router", router.state, router.address, *columns, _says(router) or note)
    for server in status.servers:
        _add(table, server.vm, "server", server.state, server.address, "", "", "", _remark(server))
        for role, process in (("master", server.master), ("slave", server.slave)):
            _add(table, "", f"  {role}", process.state, "", *_columns(process))
    available = f"available: {status.available}" if status.available else "no server is available"
    head = Text(f"cluster {status.cluster}, {available}")
    return Group(head, table, *(Text(f"note: {note}") for note in status.notes))


def _watch(question: Question, as_json: bool) -> None:
    """Show the status again and again; ends by an interrupt."""
    if as_json:
        while True:
            click.echo(_json(look(question, WATCH_ASK_S)))
            time.sleep(WATCH_EVERY_S)
    if not sys.stdout.isatty():
        while True:
            console().print(shown(look(question, WATCH_ASK_S)))
            sys.stdout.flush()
            time.sleep(WATCH_EVERY_S)
    from rich.live import Live

    with Live(shown(look(question, WATCH_ASK_S)), console=console(), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(WATCH_EVERY_S)
            live.update(shown(look(question, WATCH_ASK_S)), refresh=True)


def _json(status: Status) -> str:
    return json.dumps(status.to_dict(), ensure_ascii=False)


def question_of(spec_path: Path | None, home: Path, vms: tuple[str, ...]) -> Question:
    """Return what ``snsctl status`` asks; raises as ``load_spec`` and ``check_cluster``."""
    outline = _outline(spec_path_of(spec_path), home)
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


def _add(table: "Table", *cells: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))


def _says(router: RouterStatus) -> str:
    if router.servers is None or router.process.note:
        return ""
    return f"available: {router.available or 'nobody'}"


def _remark(server: ServerStatus) -> str:
    remarks = [f"epoch {server.epoch}"]
    if server.clients:
        remarks.append(count(server.clients, "client"))
    if server.draining:
        remarks.append("draining")
    if server.paused:
        remarks.append("restarting is paused")
    if server.degraded:
        remarks.append("degraded")
    return ", ".join(remarks)


def _columns(process: Process) -> tuple[str, str, str, str]:
    pid = str(process.pid) if process.pid is not None else "-"
    uptime = _duration(process.uptime_s) if process.uptime_s is not None else "-"
    return pid, uptime, str(process.restarts), process.note


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    return f"{minutes}m{int(seconds % 60):02d}s" if hours == 0 else f"{hours}h{minutes % 60:02d}m"
