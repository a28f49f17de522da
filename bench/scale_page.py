"""docs/scale.md and its pictures, from the rows of ``scale``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chart import chart

from tests.simulation import delays

DOCS = Path(__file__).resolve().parent.parent / "docs"
NUMBERS = {
    "NOTICED_S": "a killed process: until its partner knows",
    "SPARE_SERVES_S": "from there until the warm spare serves",
    "COLD_SERVES_S": "from there until a cold master serves, without a spare",
    "SLAVE_STARTS_S": "until a cold slave watches",
    "RESET_S": "a killed server: until a connection to it breaks",
    "CALL_S": "a unary call, of a server's one core",
    "COMMIT_S": "a durable post in a group commit",
    "OFFER_S": "choosing a server with `spread`, of a router's core, for each server known",
    "TABLE_S": "a registration that may change the choice, for each server known",
    "MERGE_S": "taking another router's table and telling its own, for each server known",
    "NETWORK_S": "one way through the network (± half)",
    "CONNECT_S": "a Connect over a new connection, of a router's core",
    "LOGIN_S": "a login over a new connection, of a master's core",
    "ENTER_S": "opening a timeline, of a master's core",
    "PUSH_S": "a live post to one reader, of a master's core",
    "CANCELLED_S": "passing over a call whose client gave up",
}
MEASURED_TO = "MERGE_S"  # the last of the measured ones

HEAD = """# Scale

Made by `python bench/scale.py --write`; the same command makes the same figures on any machine, but for the
wall time.

No thousand machines were at hand: **these figures are simulated.** What decides is the product's own code,
driven by a virtual clock (`tests/simulation`): the pair's machine, the judge of slave, spare and supervisord,
the restart budget, a master's registrations and departure, the router's table and its merging, the client's
retries, attempts and resume cursor. The network, the processes and the store are models, and time passes as
the delays below say. Every process has one core and serves its calls one after the other, so storms queue. Read
the figures as shapes: what grows with the cluster and what does not.

Each cluster has three routers and ten clients a VM, each with an open timeline, posting every ten seconds, each
a process of its own: nothing but chance keeps them from coming all at once. (Clients of one process take turns,
which is gentler.) A client is *served again* when its timeline has answered on a new connection.
"""


def write_page(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the page and its pictures."""
    (DOCS / "img").mkdir(exist_ok=True)
    recovery, load = pictures(rows)
    (DOCS / "img" / "scale-recovery.svg").write_text(recovery)
    (DOCS / "img" / "scale-load.svg").write_text(load)
    (DOCS / "scale.md").write_text(page(rows))


def pictures(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the charts of recovery times and of the routers' load."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(f"{row['fault']}, {row['selection']}", []).append((row["vms"], row["p99_ms"]))
    size = "VMs (ten clients each)"
    recovery = chart("Served again, p99 of the affected clients", size, "virtual ms", lines)
    loads: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for key, what in (("connects_per_s", "Connects/s"), ("registrations_per_s", "registrations/s")):
            if row["fault"] == "all masters killed":
                loads.setdefault(f"{what}, {row['selection']}", []).append((row["vms"], max(row[key], 1)))
    load = chart("Load on the busiest router, all masters killed", size, "a second, at the peak", loads)
    return recovery, load


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return docs/scale.md."""
    parts = [HEAD, "![Recovery time against cluster size](img/scale-recovery.svg)\n"]
    for fault in dict.fromkeys(row["fault"] for row in rows):
        parts.append(f"## {fault[0].upper()}{fault[1:]}\n")
        of_fault = [row for row in rows if row["fault"] == fault]
        parts.append(_table(sorted(of_fault, key=lambda row: (row["selection"], row["vms"]))))
    parts += ["![Load on the busiest router](img/scale-load.svg)\n", TABLE_NOTES, FINDINGS]
    parts += ["## The delays\n", _delays(), _wall(rows)]
    return "\n".join(parts)


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    head = (
        "| VMs | clients | selection | affected | served again: p50 / p99 / max, ms | "
        "Connects/s, peak | Connects | registrations/s, peak |\n|---|---|---|---|---|---|---|---|\n"
    )
    lines = [
        f"| {row['vms']:,} | {row['clients']:,} | {row['selection']} | {row['affected']:,}{_lost(row)} | "
        f"{row['p50_ms']:,.0f} / {row['p99_ms']:,.0f} / {row['max_ms']:,.0f} | {row['connects_per_s']:,} | "
        f"{row['connects']:,} | {row['registrations_per_s']:,} |"
        for row in rows
    ]
    return head + "\n".join(lines) + "\n"


def _lost(row: Mapping[str, Any]) -> str:
    return f" ({row['lost']:,} not served within two minutes)" if row["lost"] else ""


TABLE_NOTES = """*Connects/s, peak*: those that arrived at the busiest router within the worst 100 ms, times ten.
*Connects*: all that arrived at all routers until a second after the last client was served. *Registrations/s,
peak*: at the busiest router within the worst second. At rest every master registers with every router each three
seconds.
"""

FINDINGS = """## What it shows

- **With `spread`, size does not matter to a client whose master dies.** Only its ten clients are
  affected, and they are back within 25 ms up to 300 VMs, within 81 ms in the largest.
- **With `single`, recovery grows with the clients**, since one core logs them all in. From a few hundred
  clients on it grows faster than they do: once the new master's queue is longer than half a second,
  clients report it as slow; the router's probe waits in the same queue, the healthy server is suspected
  after 0.3 s, and another is made available. That sheds load, so half of the clients are back sooner,
  but each asks many times and the last ones come late.
- **A machine without power is noticed by pings**, after one to two seconds, whatever the size: nothing
  resets the connections. With `single` the storm follows.
- **After all masters died at once, a small `spread` cluster is uneven**: the first that is back takes most of
  those who wait, and nobody moves them later (the last fault of 10 VMs affects the clients of one).
- **Routers: registrations grow with the servers and stay small**; the peak is one from each server. What
  costs is to take another router's table, at each change: 27 µs for each server known, so 27 ms of a
  core at 1,000 servers, up to twenty times a second for each other router. With `spread` choosing costs
  1 ms of a core at 1,000 servers.
- **Since the simulator drives the product's own rules** for spares, registrations, departures and supervisord, the
  figures with `spread`, and with `single` up to 100 VMs, are about what they were, but for two: at 1,000 VMs with
  `spread` the ten clients of one master took 28 ms and now 81; at 300 with `single` the tails of the two later
  storms have doubled (p99 2.9 to 7.8 s and 8.2 to 16.2 s). It is one run each; why is open.
- **Limits that are near**: a router knows 1,000 servers, and a server takes 10,000 clients.
"""


def _delays() -> str:
    rows = ["| what | virtual time | where from |", "|---|---|---|"]
    source = "measured"
    for name, what in NUMBERS.items():
        rows.append(f"| {what} | {_shown(getattr(delays, name))} | {source} |")
        if name == MEASURED_TO:
            source = "assumed"
    ping, back = delays.PING_S, delays.SUPERVISORD_S
    rows.append(
        f"| a frozen or vanished peer: until pings give it up | {ping[0]:g} to {ping[1]:g} s | the settings |"
    )
    rows.append(f"| a dead router: until it is back | {back[0]:g} to {back[1]:g} s | measured |")
    told = (
        "\nMeasured: [reliability.md](reliability.md), and the router's own functions on a table of 1,000. "
        "A time of a process is drawn around its median, with a tail.\n"
    )
    return "\n".join(rows) + "\n" + told


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.3g} µs"


def _wall(rows: Sequence[Mapping[str, Any]]) -> str:
    largest = max(row["vms"] for row in rows)
    took = {
        selection: sum(row["wall_s"] for row in rows if (row["vms"], row["selection"]) == (largest, selection))
        for selection in dict.fromkeys(row["selection"] for row in rows if row["vms"] == largest)
    }
    told = ", ".join(f"{took_s:,.0f} s with `{selection}`" for selection, took_s in took.items())
    note = f"Wall time of the three faults at {largest:,} VMs, on two busy cores: {told}.\n"
    for selection in ("single", "spread"):
        if (1000, selection) not in {(row["vms"], row["selection"]) for row in rows}:
            note += f"\nNot in the tables yet: 1,000 VMs with `{selection}`, which take many minutes of a core.\n"
    return note
