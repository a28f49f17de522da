"""The whole cluster as it is: asked of the routers, the masters and the supervisors, all at once, bounded in time.

What could not be asked is said, never guessed: a server that does not answer is SUSPECT, one whose process is dead
is DOWN, whatever a router still believes.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from snsnode import __version__
from snsnode.base.errors import ConfigError, SnsError
from snsnode.base.ids import VmName
from snsnode.control import names
from snsnode.control.answers import Process, RouterStatus, ServerStatus, Status
from snsnode.control.local import is_found, is_local
from snsnode.node import budget, epoch, intent
from snsnode.node import config as node_config
from snsnode.node.config import ROLES, Endpoint, RoleName
from snsnode.node.lock import SILENT_VERSION, live_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import me, state_of

if TYPE_CHECKING:
    from snsnode.control.asking import MasterSaid, RouterSaid, ServerSaid
    from snsnode.supervisord.proxy import Program

ANSWER_S = 1.4  # of the process's life, its imports included: the answer is promised within 2 s
ASK_MIN_S = 0.4  # but so long is asked in any case
WORKERS_MAX = 64

_RANKS = ("DOWN", "AVAILABLE", "STANDBY", "SUSPECT")  # of two routers' words on one incarnation the first counts


@dataclass(frozen=True, slots=True)
class Question:
    """What there is to ask: the spec's routers and servers, the home, and a store remark.

    All are asked; ``shown`` names the VMs that the answer lists, None for all.
    """

    cluster: str
    routers: tuple[Endpoint, ...]
    servers: tuple[Endpoint, ...]
    home: Path
    notes: tuple[str, ...] = ()
    shown: frozenset[VmName] | None = None
    selection: str = "single"
    looks: bool = True  # into the home: false where this user may not

    def shows(self, vm: VmName) -> bool:
        """Tell whether the answer lists ``vm``."""
        return self.shown is None or vm in self.shown


def time_left_s() -> float:
    """Return how long this process, which just started, may ask."""
    return max(ASK_MIN_S, ANSWER_S - me().uptime_s)


def look(question: Question, within_s: float) -> Status:
    """Ask everybody and return the answer within ``within_s`` and a little."""
    until_s = time.monotonic() + within_s
    endpoints = {endpoint.vm: endpoint for endpoint in (*question.routers, *question.servers)}
    names.prepare(endpoint.address for endpoint in endpoints.values())
    workers = _Workers(min(len(endpoints), WORKERS_MAX))
    try:
        visits = {
            vm: _Visit(question.home / vm, endpoint.address, until_s, looks=question.looks)
            for vm, endpoint in endpoints.items()
        }
        for visit in visits.values():
            workers.ask(visit.make)
        # Only now: to import gRPC takes longer than most answers, and the supervisords may work meanwhile.
        from snsnode.control.asking import ask

        until_s = max(until_s, time.monotonic() + ASK_MIN_S)  # on a busy machine the import took all there was
        said, masters = ask(question.routers, question.servers, until_s)
        for visit in visits.values():
            visit.ended.wait(max(0.0, until_s - time.monotonic()))
    finally:
        workers.dismiss()
    return _answer(question, said, masters, visits)


def _answer(
    question: Question,
    said: "Sequence[RouterSaid | None]",
    masters: "Sequence[MasterSaid | None]",
    here: "dict[VmName, _Visit]",
) -> Status:
    local = {vm: visit for vm, visit in here.items() if visit.vm_dir is not None or not question.looks}
    known = _merge(said)
    servers = [
        _server(endpoint, known.get(endpoint.vm), any(said), master, here.get(endpoint.vm))
        for endpoint, master in zip(question.servers, masters, strict=True)
    ]
    shown = [server for server in servers if question.shows(VmName(server.vm))]
    differ = _disagreement(question, said)
    return Status(
        cluster=question.cluster,
        available=_available(servers, said),
        routers=[
            RouterStatus(
                router.vm,
                router.target,
                "UP" if word is not None else "DOWN",
                _process(here.get(router.vm), "router"),
                word.available or None if word is not None else None,
                {vm: server.state for vm, server in word.servers.items()} if word is not None else None,
            )
            for router, word in zip(question.routers, said, strict=True)
            if question.shows(router.vm)
        ],
        servers=shown,
        notes=[
            *question.notes,
            *_notes(question, said, here),
            *differ,
            *_server_notes(shown),
            *_version_notes(local),
        ],
        routers_agree=not differ,
    )


class _Workers:
    """Threads for questions that block; one that is not back in time is abandoned, also by the process's end."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        for _ in range(count):
            threading.Thread(target=self._serve, daemon=True).start()

    def dismiss(self) -> None:
        """Let every thread end once it is idle."""
        for _ in range(self._count):
            self._work.put(None)

    def ask(self, question: Callable[[], None]) -> None:
        """Let a thread ask; ``question`` raises nothing."""
        self._work.put(question)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class _Visit:
    """What this machine has of a VM; filled by a thread, and read as far as it came when the time is up."""

    def __init__(self, folder: Path, address: str, until_s: float, *, looks: bool = True) -> None:
        self.looks = looks
        self._folder = folder
        self._address = address
        self._until_s = until_s
        self.resolved = False  # looking up a name may take many seconds
        self.vm_dir: VmDir | None = None  # where it lives on this machine
        self.programs: dict[str, Program] | None = None  # its supervisord's answer
        self.plugin: str | None = None  # the snsnode that its supervisord has loaded, "" where it does not tell
        self.ended = threading.Event()

    def make(self) -> None:
        """Look whether the VM lives here, and ask its supervisord."""
        here = self.looks and is_local(self._address)
        if here:
            self.vm_dir = VmDir(self._folder.absolute())
        self.resolved = here or (names.is_answered(self._address) and is_found(self._address))
        if self.vm_dir is not None:
            from snsnode.supervisord.proxy import Supervisor

            supervisor = Supervisor(self.vm_dir.supervisor_socket)
            with contextlib.suppress(SnsError):
                self.programs = supervisor.programs(timeout_s=max(self._until_s - time.monotonic(), 0.01))
                self.plugin = supervisor.plugin_version(timeout_s=max(self._until_s - time.monotonic(), 0.01))
        self.ended.set()


def _merge(said: "Sequence[RouterSaid | None]") -> "dict[str, ServerSaid]":
    """Return what the routers know; the higher epoch is the later truth, and of one epoch who is dead is dead."""
    known: dict[str, ServerSaid] = {}
    for word in said:
        for vm, server in word.servers.items() if word is not None else ():
            if vm not in known or _later(server, known[vm]):
                known[vm] = server
    return known


def _later(one: "ServerSaid", other: "ServerSaid") -> bool:
    if one.epoch != other.epoch:
        return one.epoch > other.epoch
    return _RANKS.index(one.state) < _RANKS.index(other.state)


def _server(
    endpoint: Endpoint,
    info: "ServerSaid | None",
    a_router_answers: bool,
    reply: "MasterSaid | None",
    visit: _Visit | None,
) -> ServerStatus:
    master = _process(visit, "master")
    vm_dir = visit.vm_dir if visit is not None else None
    if vm_dir is None and reply is not None:
        master = Process(pid=reply.pid, state="RUNNING")
    return ServerStatus(
        vm=endpoint.vm,
        address=endpoint.target,
        state=_state(info, a_router_answers, reply is not None, master.pid is not None or vm_dir is None),
        epoch=max(
            info.epoch if info is not None else 0,
            reply.epoch if reply is not None else 0,
            epoch.read(vm_dir) if vm_dir is not None else 0,
        ),
        clients=info.clients if info is not None else 0,
        paused=vm_dir is not None and intent.is_paused(vm_dir),
        degraded=vm_dir is not None and _is_degraded(vm_dir),
        master=master,
        slave=_process(visit, "slave"),
        draining=intent.is_drained(vm_dir) if vm_dir is not None else info is not None and info.leaving,
    )


def _state(info: "ServerSaid | None", a_router_answers: bool, answers: bool, may_live: bool) -> str:
    if not answers:
        # Silent: dead where its process is, else frozen, cut off or overloaded.
        down = not may_live or (info is not None and info.state == "DOWN")
        return "DOWN" if down or (info is None and a_router_answers) else "SUSPECT"
    if info is None or info.state == "DOWN":
        return "SUSPECT"  # it serves, and no router vouches for it (yet)
    return info.state


def _is_degraded(vm_dir: VmDir) -> bool:
    spent = budget.read(vm_dir)
    if not spent.degraded:
        return False
    try:
        period_s = node_config.load(vm_dir.path).restart.period_s
    except ConfigError:
        return True
    # The ledger is written by restarts only: a quiet period, which resets the delay, leaves no trace in it.
    return any(time.monotonic() - at_s < period_s for at_s in spent.recent_s)


def _available(servers: list[ServerStatus], said: "Sequence[RouterSaid | None]") -> str | None:
    available = [server.vm for server in servers if server.state == "AVAILABLE"]
    for word in said:
        if word is not None and word.available in available:
            return word.available
    return available[0] if available else None


def _process(visit: _Visit | None, role: RoleName) -> Process:
    vm_dir = visit.vm_dir if visit is not None else None
    if visit is None or vm_dir is None:
        return Process(note=_why_not_seen(visit))
    programs = visit.programs
    holder = live_holder(vm_dir, role)
    program = (programs or {}).get(role)
    restarts = budget.read(vm_dir).totals.get(role, 0)
    note = "stopped by an operator" if intent.is_stopped(vm_dir, role) else ""
    if holder is None:
        # Without a supervisord an operator's stop is the last word on it: there is nobody who could start it.
        state = program.state if program is not None else "STOPPED" if note else "UNKNOWN"
        # supervisord may not have noticed yet that its process is gone.
        return Process(None, "EXITED" if state == "RUNNING" else state, None, restarts, note)
    if state_of(holder.identity) == "T":
        note = "frozen (SIGSTOP)"
    state = program.state if program is not None and program.pid == holder.identity.pid else "RUNNING"
    return Process(holder.identity.pid, state, round(holder.uptime_s, 1), restarts, note, holder.version)


def _why_not_seen(visit: _Visit | None) -> str:
    """Say why nothing is told of a process that is not here, as far as anybody knows."""
    if visit is None or not visit.looks:
        return "not looked at"
    return "on another machine" if visit.resolved else "its address cannot be looked up"


def _notes(question: Question, said: "Sequence[RouterSaid | None]", visits: dict[VmName, _Visit]) -> list[str]:
    notes = [
        f"router {router.vm} at {router.target} does not answer"
        for router, word in zip(question.routers, said, strict=True)
        if word is None
    ]
    shown = {vm: visit for vm, visit in visits.items() if question.shows(vm)}
    silent = {vm: visit.vm_dir for vm, visit in shown.items() if visit.vm_dir and visit.programs is None}
    stopped = [vm for vm, vm_dir in silent.items() if _is_stopped(vm_dir)]
    notes += [f"supervisord of {vm} does not answer" for vm in silent if vm not in stopped]
    if stopped:
        notes.append(f"stopped: {', '.join(stopped)}; 'snsctl start' starts what was stopped")
    remote = [vm for vm, visit in shown.items() if visit.vm_dir is None and visit.resolved]
    if remote and question.looks:
        notes.append(f"on other machines, so their supervisord was not asked: {', '.join(remote)}")
    unknown = [vm for vm, visit in shown.items() if not visit.resolved]
    if unknown:
        notes.append(f"their address could not be looked up: {', '.join(unknown)}; check the name service")
    return notes


def _is_stopped(vm_dir: VmDir) -> bool:
    """Tell whether an operator stopped a VM, its supervisord too: that takes its socket away."""
    return not vm_dir.supervisor_socket.exists() and any(intent.is_stopped(vm_dir, role) for role in ROLES)


def _disagreement(question: Question, said: "Sequence[RouterSaid | None]") -> list[str]:
    """Return what the routers that answer differ in: whom they give to clients, or who is dead."""
    words = [(router.vm, word) for router, word in zip(question.routers, said, strict=True) if word is not None]
    differ = []
    if question.selection == "single" and len({word.available for _, word in words}) > 1:
        differ.append(", ".join(f"{vm} gives clients {word.available or 'nobody'}" for vm, word in words))
    for server in question.servers:
        lives = {vm: word.servers.get(server.vm) for vm, word in words}
        known = [said for said in lives.values() if said is not None]
        # A router that began while a server was dead has not heard of it: no epoch counts on hearsay.
        compared = known if all(said.state == "DOWN" for said in known) else lives.values()
        if len({_life(said) for said in compared}) > 1:
            differ.append(f"of {server.vm} " + ", ".join(f"{vm} says {_life(said)}" for vm, said in lives.items()))
    return [f"the routers disagree: {what}; they agree again once they reach each other" for what in differ]


def _life(known: "ServerSaid | None") -> str:
    if known is None:
        return "nothing"
    return f"epoch {known.epoch}, {'dead' if known.state == 'DOWN' else 'alive'}"


def _version_notes(visits: "dict[VmName, _Visit]") -> list[str]:
    """Name what runs another version than this command: the package was changed under it."""
    found: dict[str, list[str]] = {}
    for vm, visit in visits.items():
        if visit.plugin is not None and visit.plugin != __version__:
            found.setdefault(visit.plugin or SILENT_VERSION, []).append(f"{vm} supervisord")
        for role in ROLES:
            process = _process(visit, role)
            if process.pid is not None and process.version != __version__:
                found.setdefault(process.version, []).append(f"{vm} {role}")
    return [
        f"{', '.join(roles)} {'runs' if len(roles) == 1 else 'run'} snsnode {version}, and {__version__} is "
        "installed; 'snsctl restart' brings it"
        for version, roles in found.items()
    ]


def _server_notes(servers: list[ServerStatus]) -> list[str]:
    notes = [
        f"{server.vm} is degraded: its restart budget is used up and restarts wait; see 'snsctl why {server.vm}'"
        for server in servers
        if server.degraded
    ]
    return notes + [
        f"{server.vm} is drained, and given to clients all the same: no router has another server"
        for server in servers
        if server.draining and server.state == "AVAILABLE"
    ]
