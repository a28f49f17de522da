"""The page that ``snsctl status`` shows to people: pure. No line is cut, however wide."""

from collections.abc import Sequence

from snsnode.base.harmless import harmless
from snsnode.cli.machine import count
from snsnode.cli.streams import Piece
from snsnode.control.answers import Process, RouterStatus, ServerStatus, Status

_HEAD = ("VM", "ROLE", "STATE", "ADDRESS", "PID", "UPTIME", "RESTARTS", "")
_TO_THE_RIGHT = frozenset({"PID", "UPTIME", "RESTARTS"})
_STYLES = {"AVAILABLE": "bold green", "STANDBY": "green", "UP": "green", "SUSPECT": "yellow", "DOWN": "bold red"}

Row = tuple[str, ...]


def page(status: Status) -> list[list[Piece]]:
    """Return the lines of the page, each in pieces with a style."""
    available = f"available: {status.available}" if status.available else "no server is available"
    lines = [[(f"cluster {status.cluster}, {available}", "")]]
    lines += _table(_rows(status))
    return lines + [[(f"note: {note}", "")] for note in status.notes]


def _rows(status: Status) -> list[Row]:
    rows: list[Row] = []
    for router in status.routers:
        *columns, note = _columns(router.process)
        rows.append((router.vm, "router", router.state, router.address, *columns, _says(router) or note))
    for server in status.servers:
        rows.append((server.vm, "server", server.state, server.address, "", "", "", _remark(server)))
        for role, process in (("master", server.master), ("slave", server.slave)):
            rows.append(("", f"  {role}", process.state, "", *_columns(process)))
    return rows


def _table(rows: Sequence[Row]) -> list[list[Piece]]:
    """Return the rows below their head, in columns as wide as their widest cell."""
    # Escaped here already: the outlet would do it too late for the widths.
    cells = [_HEAD, *(tuple(map(harmless, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [_line(row, widths, "bold" if row is _HEAD else None) for row in cells]


def _line(row: Row, widths: Sequence[int], style: str | None) -> list[Piece]:
    pieces: list[Piece] = []
    for title, cell, width in zip(_HEAD, row, widths, strict=True):
        gap = " " * (width - len(cell))
        before, after = (gap, "") if title in _TO_THE_RIGHT else ("", gap)
        pieces += [(before, ""), (cell, _STYLES.get(cell, "") if style is None else style), (f"{after}  ", "")]
    while pieces and not pieces[-1][0].strip():
        pieces.pop()
    return pieces


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
