"""Mutated files of a VM: read and owned in this process, and met by commands and roles."""

import json
import logging
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from snsnode.base.errors import EXIT_CONFIG, SnsError
from snsnode.base.ids import Epoch, VmName
from snsnode.cli.specfile import load_spec
from snsnode.control import doctor_home, outline, story
from snsnode.control.logs import Logs
from snsnode.node import budget, cluster, config, epoch, intent
from snsnode.node.config import Restart
from snsnode.node.lock import RoleLock, is_locked, live_holder, read_holder
from snsnode.node.paths import VmDir
from snsnode.observe import events, journal
from snsnode.observe.journal import Journal
from snsnode.render import disk, plan, template
from tests.fuzz import commands
from tests.fuzz.mutate import put
from tests.fuzz.report import Report, attempt
from tests.ports import free_port

RULE = Restart(5, 10.0, 10.0)
_WRITTEN_NS = time.time_ns() - 60 * 10**9
EVENTS = (
    events.SlaveStarted(),
    events.Up(of="master", cause="it died", partner_pid=5, epoch=3, took_ms=12),
    events.Down(of="master", cause="it died", partner_pid=5, epoch=3, exit_code=-9),
    events.Up(of="master", cause="it died", partner_pid=5, epoch=4, took_ms=12),
    events.Degraded(partner="master", wait_ms=5, restarts=2),
    events.Rescue(cause="it died", wait_ms=5, restarts=2),
    events.Draining(clients=3),
)
COMMANDS = (
    ["status", "--json"],
    ["status"],
    ["why"],
    ["why", "--json"],
    ["doctor"],
    ["generate", "--diff"],
    ["generate"],
)

_Signature = tuple[int, int, int, int]  # mode, inode, size, mtime


class Home:
    """A home that was generated and has run, kept as it was to start each mutation from."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "var"
        self.spec = folder / "cluster.yaml"
        self.vm = VmDir(self.path / "vm1")
        self.spec.write_text(
            f"cluster: fuzz\nvms:\n  vm1: {{address: 127.0.0.1, router: {{port: {free_port()}}}, "
            f"server: {{port: {free_port()}}}}}\n"
        )
        spec, _ = load_spec(self.spec)
        disk.write(self.path, plan.plan(spec, template.load(), {}, None), spec.vms)
        self._run()
        self.files = {
            path.relative_to(self.path): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
        }
        self._names = [(str(self.path / name), content) for name, content in self.files.items()]
        self._known = {name for name, _ in self._names} | {str(folder) for folder in self.vm.folders}
        self._kept: dict[str, _Signature] = {}

    def _run(self) -> None:
        """Leave what roles leave."""
        for role in ("router", "slave", "master", "spare"):
            lock = RoleLock(self.vm, role)
            lock.take()
            lock.announce(epoch=3, config="0123456789abcdef")
            kept = self.vm.pid(role).read_bytes()
            lock.withdraw()
            self.vm.pid(role).write_bytes(kept)
        epoch.record(self.vm, Epoch(3))
        for _ in range(3):
            budget.withdraw(self.vm, RULE, "master", 0.5)
        intent.mark_shutdown(self.vm)
        intent.drain(self.vm)
        intent.pause(self.vm)
        intent.stop(self.vm, "master")
        (self.vm.run / "slave.started").write_text("12.5\n")
        (self.vm.run / "supervisord.pid").write_text("1\n")
        said = Journal(self.vm.journal, "vm1", "slave")
        for event in EVENTS:
            said.write(event)
        self.vm.log("master").write_text("2026-11-22T20:15:01.123Z ERROR master vm1 [4242] cannot listen\n" * 3)
        outline.keep(self.path, "digest", outline.outline_of(load_spec(self.spec)[0]))

    def mutate(self, chance: random.Random, count: int = 1) -> Path:
        """Put something else in the place of ``count`` files; return the last."""
        for _ in range(count):
            name = chance.choice(list(self.files))
            path = self.path / name
            commands.remove(path)
            put(chance, path, self.files[name])
        return name

    def restore(self, *, all_of_it: bool) -> None:
        """Bring back how it was: all, or only what is missing or differs in the folders that are written to."""
        if all_of_it:
            shutil.rmtree(self.path, ignore_errors=True)
            self._kept.clear()
        for folder in (self.path, *self.vm.folders):
            for name in _listed(folder):
                if name not in self._known:
                    commands.remove(Path(name))
        for name, content in self._names:
            if (kept := self._kept.get(name)) is None or kept != _signature(name):
                self._kept[name] = _rewritten(Path(name), content)


def _listed(folder: Path) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _signature(name: str) -> _Signature | None:
    try:
        found = os.lstat(name)
    except OSError:
        return None
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns


def _rewritten(path: Path, content: bytes) -> _Signature:
    """Write ``content`` anew, as of some time ago: whoever writes to it afterwards changes its signature."""
    commands.remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(_WRITTEN_NS, _WRITTEN_NS))
    signature = _signature(str(path))
    assert signature is not None
    return signature


def in_process(report: Report, seed: int, home: Home) -> None:
    """Let every reader and owner meet one mutated file; then bring it back."""
    chance = random.Random(seed)
    name = home.mutate(chance)
    act = chance.choice(_ACTS) if chance.random() < 0.5 else _act_of(name)
    attempt(report, seed, lambda: f"{act.__name__.strip('_')} ({_done(act, home)})")
    home.restore(all_of_it=False)


def _done(act: Callable[[Home], object], home: Home) -> str:
    try:
        act(home)
    except SnsError as error:
        assert len(error.message) < 2000, error.message
        return f"refused, {error.exit_code}"
    return "went on"


def _config(home: Home) -> None:
    cluster.load(home.vm.path)
    cluster.neighbours(home.vm.path, "fuzz")
    config.load(home.vm.path).digest("master")


def _holders(home: Home) -> None:
    for role in ("router", "slave", "master", "spare"):
        holder = read_holder(home.vm, role)
        json.dumps(holder.uptime_s if holder else None, allow_nan=False)
        live_holder(home.vm, role)
        is_locked(home.vm, role)
    lock = RoleLock(home.vm, "master")
    lock.take()
    lock.announce(epoch=4, config="x")
    lock.keep()
    assert live_holder(home.vm, "master") is not None
    lock.withdraw()


def _epoch(home: Home) -> None:
    assert epoch.read(home.vm) <= epoch.EPOCH_MAX
    own = epoch.take(home.vm)
    epoch.record(home.vm, Epoch(own + 1))
    assert epoch.read(home.vm) == own + 1 or own == epoch.EPOCH_MAX


def _ledger(home: Home) -> None:
    budget.is_waiting(home.vm)
    json.dumps(budget.read(home.vm).totals, allow_nan=False)
    _, wait_s = budget.withdraw(home.vm, RULE, "master", 0.5)
    assert 0 <= wait_s <= 1.2 * RULE.backoff_max_s
    budget.count(home.vm, "slave")
    assert budget.read(home.vm).totals["slave"] >= 1


def _intents(home: Home) -> None:
    intent.was_stopped(home.vm, "slave", 0.0, 1.0)
    intent.is_shutting_down(home.vm)
    intent.start(home.vm, "slave")
    intent.resume(home.vm)
    intent.undrain(home.vm)
    intent.mark_shutdown(home.vm)
    intent.clear_shutdown(home.vm)
    assert intent.may_start(home.vm, "master")


def _story(home: Home) -> None:
    found = journal.history(home.vm.journal)
    for sentence in story.tell(found.entries):
        story.line(sentence, date.today()).encode(errors="backslashreplace")
    for entry in found.entries:
        json.dumps(story.raw(entry), allow_nan=False)
    Journal(home.vm.journal, "vm1", "slave").write(events.SlaveStarted())
    if not home.vm.journal.is_char_device():  # a device takes entries and keeps none
        assert journal.read(home.vm.journal)[-1].event == "slave-started"


def _generated(home: Home) -> None:
    spec, _ = load_spec(home.spec)
    plan.plan(spec, template.load(), disk.read(home.path), None)


def _looks(home: Home) -> None:
    found = outline.kept(home.path, "digest")
    if found is not None:
        found.endpoints("router")
    logs = Logs(home.vm)
    logs._began.update(dict.fromkeys(logs._began, 0))
    logs.cause("slave")


def _left_behind(home: Home) -> None:
    list(doctor_home._left_behind(VmName("vm1"), home.vm))


_ACTS: tuple[Callable[[Home], None], ...] = (
    *(_config, _holders, _epoch, _ledger, _intents, _story, _generated, _looks, _left_behind),
)
_BY_SUFFIX = {".pid": _holders, ".lock": _holders, ".jsonl": _story, ".conf": _generated, ".log": _looks}
_BY_NAME = {
    "supervisord.pid": _left_behind,
    "node.json": _config,
    "cluster.json": _config,
    "epoch": _epoch,
    "restarts.json": _ledger,
}


def _act_of(name: Path) -> Callable[[Home], None]:
    return _BY_NAME.get(name.name) or _BY_SUFFIX.get(name.suffix) or (_looks if name.name[0] == "." else _intents)


def by_command(report: Report, seed: int, home: Home) -> None:
    """Let a command, or a role, meet up to three mutated files."""
    chance = random.Random(seed)
    home.restore(all_of_it=True)
    home.mutate(chance, chance.randint(1, 3))
    if chance.random() < 0.25 and home.vm.path.is_dir():  # a router: a pair would bring itself up for good
        command = [sys.executable, "-P", "-m", "snsnode.router", "vm1"]
        commands.run_command(
            report, seed, command, home.vm.path, (0, 1, EXIT_CONFIG, -signal.SIGTERM), "router", term_after_s=1.5
        )
        return
    given = ["--spec", str(home.spec), "--home", str(home.path)]
    commands.run(report, seed, [*chance.choice(COMMANDS), *given], home.path.parent, (0, 1, 3, EXIT_CONFIG))


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what owners log of damaged files out of the report."""
    log = logging.getLogger("snsnode")
    nothing = logging.NullHandler()
    log.addHandler(nothing)
    log.propagate = False
    try:
        yield
    finally:
        log.propagate = True
        log.removeHandler(nothing)
