"""One attack on a cluster of its own, and what those who use the network, and ``status``, saw of it."""

import contextlib
import json
import resource
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.cluster import Cluster, running
from tests.eventually import eventually
from tests.strangers import gauges
from tests.strangers.attacking import attack_of
from tests.strangers.witnesses import Bystander, Newcomers, Visit

QUIET_S = 6.0
AFTER_S = 10.0
READY_S = 120.0
SHIPPED = "{interval: 3s, timeout: 1s, silence: 9s}"
DESCRIPTORS = 2048


@dataclass(frozen=True, slots=True)
class Kind:
    """An attack, its sizes, and on whom."""

    kind: str
    whom: str  # "server": the available one; "router"
    full: int
    small: int
    seconds: float = 30.0
    rate: float = 0.0  # at full size; a tenth of it at the small one
    saturates: bool = False  # nobody can be promised to be served within a second
    ends_roles: bool = False  # a role may outgrow its memory, and be replaced
    routers: int = 1
    descriptors: int = 0  # the limit of the cluster's processes, where it is another than ours

    @property
    def name(self) -> str:
        """How the command names it."""
        return f"{self.kind}-{self.whom}"


@dataclass(slots=True)
class Outcome:
    """What was seen."""

    name: str
    number: int
    seen: dict[str, int] = field(default_factory=dict)
    ready_s: float = 0.0
    longest_during_s: float = 0.0
    longest_after_s: float = 0.0
    newcomers: int = 0
    failed_during: list[str] = field(default_factory=list)
    failed_after: list[str] = field(default_factory=list)
    quiet_ms: tuple[float, float] = (0.0, 0.0)  # the bystander's p50 and p99
    during_ms: tuple[float, float] = (0.0, 0.0)
    bystander_failed: str = ""
    memory_mib: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # before, at most, after
    died: list[str] = field(default_factory=list)
    status_looks: int = 0
    status_doubts: int = 0
    status_slowest_s: float = 0.0
    status_lies: list[str] = field(default_factory=list)
    log_bytes: int = 0
    history_lost: bool = False
    tracebacks: int = 0
    cut_short: bool = False

    def problems(self, kind: Kind) -> list[str]:
        """Return what is not as it must be."""
        found = [f"newcomer after the attack: {text}" for text in self.failed_after]
        found += [f"status: {lie}" for lie in self.status_lies]
        if not kind.saturates:
            found += [f"newcomer: {text}" for text in self.failed_during]
            if self.longest_during_s > 1.0:
                found.append(f"a newcomer waited {self.longest_during_s:.2f} s")
        if self.longest_after_s > 1.0:
            found.append(f"a newcomer waited {self.longest_after_s:.2f} s afterwards")
        if not kind.ends_roles:
            found += [f"died: {name}" for name in self.died]
        if self.bystander_failed:
            found.append(f"bystander: {self.bystander_failed}")
        if self.history_lost or self.tracebacks:
            found.append(f"logs: history lost: {self.history_lost}, tracebacks: {self.tracebacks}")
        return found


def run(kind: Kind, *, full: bool) -> Outcome:
    """Run one attack."""
    number = kind.full if full else kind.small
    outcome = Outcome(kind.name, number)
    restart = "{intensity: 5, period: 10s, backoff_max: 10s}"
    with running(servers=2, routers=kind.routers, keepalive=SHIPPED, restart=restart) as cluster:
        cluster.await_available(30)
        if kind.descriptors:
            _limit_descriptors(cluster, kind.descriptors)
        _attack(kind, outcome, cluster, full=full)
    return outcome


def _attack(kind: Kind, outcome: Outcome, cluster: Cluster, *, full: bool) -> None:
    vm = cluster.await_available(30) if kind.whom == "server" else cluster.router_vm
    before, first_lines, bytes_before = (
        gauges.roles(cluster),
        gauges.first_lines(cluster),
        gauges.log_bytes(cluster),
    )
    memory = {name: gauges.memory_mib(process) for name, process in before.items()}
    with _bystander(cluster) as bystander, _newcomers(cluster) as newcomers:
        time.sleep(QUIET_S)  # nothing is awaited: this is the quiet that is compared with
        watch = gauges.Watch(cluster)
        began_s = time.monotonic()
        watch.begin()
        try:
            outcome.seen, attacking_s, outcome.cut_short = _attacker(kind, cluster.ports[vm], watch, full=full)
            ended_s = time.monotonic()
            time.sleep(AFTER_S)  # as before
            watch.look()
        finally:
            watch.end()
        visits, calls = newcomers.end(), bystander.end()
        outcome.bystander_failed = "" if bystander.ended_well else "its process ended with an error"
    outcome.ready_s = attacking_s
    _note_visits(outcome, visits, began_s, ended_s)
    outcome.quiet_ms = _percentiles([ms for at_s, ms in calls if at_s < began_s])
    outcome.during_ms = _percentiles([ms for at_s, ms in calls if began_s <= at_s < ended_s])
    now = gauges.roles(cluster)
    outcome.died = [name for name, process in before.items() if now.get(name) != process]
    outcome.memory_mib = {
        name: (memory[name], watch.at_most_mib.get(name, 0), gauges.memory_mib(now[name]) if name in now else 0)
        for name in before
    }
    outcome.status_looks, outcome.status_lies = watch.looks, watch.lies
    outcome.status_doubts, outcome.status_slowest_s = watch.doubts, watch.slowest_status_s
    outcome.log_bytes = gauges.log_bytes(cluster) - bytes_before
    outcome.history_lost = any(gauges.first_line(log) != line for log, line in first_lines.items())
    logs = [log.read_text(errors="replace") for log in cluster.home.glob("*/log/*.log")]
    outcome.tracebacks = sum(text.count("Traceback") for text in logs)


def _attacker(kind: Kind, port: int, watch: gauges.Watch, *, full: bool) -> tuple[dict[str, int], float, bool]:
    """Let a stranger attack, and return what it saw, when it attacked in full, and whether it was cut short."""
    number, rate = (kind.full, kind.rate) if full else (kind.small, kind.rate / 10)
    seconds = kind.seconds if full else kind.seconds / 5
    command = attack_of(kind.kind, f"127.0.0.1:{port}", number, seconds, rate)
    began_s = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        ready_s = time.monotonic() - began_s
        while process.poll() is None:
            if watch.too_large.wait(0.1) or time.monotonic() - began_s > seconds + READY_S:
                return {}, ready_s, True
        said = process.stdout.read().splitlines()
        return json.loads(said[-1]) if said else {}, ready_s, False
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _bystander(cluster: Cluster) -> Iterator[Bystander]:
    bystander = Bystander(cluster.router_targets[0])
    try:
        yield bystander
    finally:
        bystander.kill()


@contextlib.contextmanager
def _newcomers(cluster: Cluster) -> Iterator[Newcomers]:
    newcomers = Newcomers("newcomer", cluster.router_targets)
    try:
        yield newcomers
    finally:
        newcomers.kill()


def _note_visits(outcome: Outcome, visits: list[Visit], began_s: float, ended_s: float) -> None:
    during = [visit for visit in visits if began_s <= visit.begun_s < ended_s]
    after = [visit for visit in visits if visit.begun_s >= ended_s]
    outcome.newcomers = len(during)
    outcome.longest_during_s = max((visit.took_s for visit in during), default=0.0)
    outcome.longest_after_s = max((visit.took_s for visit in after), default=0.0)
    outcome.failed_during = [visit.failed for visit in during if visit.failed]
    outcome.failed_after = [visit.failed for visit in after if visit.failed]


def _percentiles(values: list[float]) -> tuple[float, float]:
    found = sorted(values)
    return (found[len(found) // 2], found[int(len(found) * 0.99)]) if found else (0.0, 0.0)


def _limit_descriptors(cluster: Cluster, number: int) -> None:
    """Give every process of the cluster this limit of descriptors: those there are, and those they launch."""
    old = gauges.roles(cluster)
    for process in old.values():  # whoever launches the next ones
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (number, number))
    for role in ("router", "slave", "master"):  # and not the supervisords, which hand the limit down
        cluster.ctl("restart", role)
    eventually(lambda: cluster.ctl("status", code=None).returncode == 0, within_s=30)

    def limited() -> bool:
        now = gauges.roles(cluster)
        cluster.await_spares(0)
        limits = {resource.prlimit(process.pid, resource.RLIMIT_NOFILE) for process in now.values()}
        is_new = all(now[name] != old[name] for name in old if not name.endswith("supervisord"))
        return limits == {(number, number)} and is_new

    eventually(limited, within_s=30, every_s=0.2)
