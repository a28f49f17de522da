"""A watch that lacks something itself: whatever fails, the pair comes back, and no healthy partner is lost."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from snsnode.base.ids import VmName
from snsnode.guard import machine
from snsnode.guard.machine import Cause, Phase, Rules
from snsnode.node import budget, intent
from snsnode.node.config import Endpoint, KeepAlive, NodeConfig, Restart
from snsnode.node.ending import Outcome
from snsnode.node.paths import VmDir
from snsnode.node.process import Identity, identify
from snsnode.observe.journal import Journal, read
from snsnode.pair import fence, watch
from snsnode.pair.spawn import Child
from snsnode.pair.watch import Partner, Watch
from tests.eventually import eventually_async

VM = VmName("vm2")
CONFIG = NodeConfig(
    cluster="test",
    vm=VM,
    address="127.0.0.1",
    router_port=None,
    server_port=3020,
    routers=(Endpoint(VM, "127.0.0.1", 3010),),
    store="sqlite:///sns.db",
    selection="single",
    spare=False,
    keepalive=KeepAlive(3, 1, 9),
    restart=Restart(1000, 10, 10),
)
WITHIN_S = 15.0

# Where the watch touches the machine it runs on: module, name.
SEAMS: dict[str, tuple[Any, str]] = {
    "the holder": (watch, "live_holder"),
    "the last holder": (watch, "read_holder"),
    "the process state": (watch, "state_of"),
    "the pidfd": (watch, "open_pidfd"),
    "the kill": (watch, "kill_and_await"),
    "whether it may start": (intent, "may_start"),
    "whether it is stopped": (intent, "is_stopped"),
    "whether it was stopped": (intent, "was_stopped"),
    "the budget": (budget, "withdraw"),
    "the launch": (watch, "_launch"),
    "the beat": (watch, "_beat"),
}


class Faults:
    """Lets the calls of the seams fail once they are armed: those that ``fails`` says, by name and number."""

    def __init__(self) -> None:
        self.armed = False
        self.fails: Callable[[str, int], bool] = lambda name, number: False
        self.calls: list[str] = []
        self.failed = 0

    def check(self, name: str) -> None:
        if not self.armed:
            return
        self.calls.append(name)
        if self.fails(name, len(self.calls)):
            self.failed += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*arguments: Any, **options: Any) -> Any:
            self.check(name)
            return call(*arguments, **options)

        return checked


class Scene:
    """A folder, its watch, and real processes that hold the master's role."""

    def __init__(self, vm_dir: VmDir, faults: Faults) -> None:
        self.vm_dir = vm_dir
        self.faults = faults
        self.processes: list[subprocess.Popen[bytes]] = []
        self.told: list[Cause] = []
        partner = Partner("master", self.launch, self.beat, lambda holder, cause: self.told.append(cause))
        rules = Rules(0.2, 0.2, 2, 20, sends=True)
        self.watch = Watch(vm_dir, CONFIG, partner, rules, Journal(vm_dir.journal, VM, "slave"))

    async def launch(self, cause: Cause) -> Child:
        self.faults.check("the launch")
        process = subprocess.Popen(["sleep", "600"])  # noqa: ASYNC220 - as a launch does
        self.processes.append(process)
        identity = identify(process.pid)
        assert identity is not None
        about = {"start_ticks": identity.start_ticks, "boot_id": identity.boot_id, "epoch": 1, "config": ""}
        self.vm_dir.pid("master").write_text(f"{identity.pid}\n{json.dumps(about)}\n")
        return Child(process, identity)

    async def beat(self, partner: Identity) -> None:
        self.faults.check("the beat")

    async def until_up(self) -> Identity:
        await eventually_async(self._is_up, WITHIN_S)
        assert self.watch.partner is not None
        return self.watch.partner

    def _is_up(self) -> bool:
        return self.watch.phase is Phase.UP and self._runs()

    def _runs(self) -> bool:
        return self.watch.partner is not None and self.watch.partner.pid == self.processes[-1].pid


@asynccontextmanager
async def watching(scene: Scene) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(scene.watch.run())
        try:
            yield await scene.until_up()
        finally:
            task.cancel()
            scene.faults.armed = False


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    faults = Faults()
    for name, (module, attribute) in SEAMS.items():
        if hasattr(module, attribute):
            monkeypatch.setattr(module, attribute, faults.around(name, getattr(module, attribute)))
    monkeypatch.setattr(machine, "RETRY_S", 0.02, raising=False)
    monkeypatch.setattr(machine, "TICK_S", 0.02)
    vm_dir = VmDir(tmp_path / "vm2")
    vm_dir.make()
    made = Scene(vm_dir, faults)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


async def assert_comes_back(scene: Scene) -> None:
    async with watching(scene) as old:
        scene.faults.armed = True
        scene.processes[-1].kill()
        await eventually_async(lambda: len(scene.processes) > 1, WITHIN_S)
        assert await scene.until_up() != old
    living = [process for process in scene.processes if process.poll() is None]
    assert len(living) == 1  # one was replaced, by one
    assert len(scene.processes) == 2
    assert scene.told == [Cause.DEAD]
    events = [entry.event for entry in read(scene.vm_dir.journal)]
    assert events.count("master-down") == 1


@pytest.mark.parametrize("name", SEAMS)
async def test_whatever_fails_three_times_the_pair_comes_back(scene: Scene, name: str) -> None:
    scene.faults.fails = lambda called, number: called == name and scene.faults.calls.count(name) <= 3
    await assert_comes_back(scene)


@pytest.mark.parametrize("at", range(1, 31))
async def test_whichever_call_fails_the_pair_comes_back(scene: Scene, at: int) -> None:
    scene.faults.fails = lambda called, number: number == at
    await assert_comes_back(scene)


async def test_everything_fails_for_a_while_and_the_pair_comes_back(scene: Scene) -> None:
    scene.faults.fails = lambda called, number: number <= 60
    await assert_comes_back(scene)
    assert scene.faults.failed == 60


async def test_a_healthy_partner_is_kept_while_everything_fails(scene: Scene) -> None:
    scene.faults.fails = lambda called, number: number <= 20
    async with watching(scene) as partner:
        scene.faults.armed = True
        await eventually_async(lambda: len(scene.faults.calls) > 40, WITHIN_S)
        assert scene.watch.partner == partner
    assert len(scene.processes) == 1
    assert scene.processes[0].poll() is None


async def test_a_defect_of_ours_ends_the_watch(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object) -> None:
        raise KeyError("a defect")

    with pytest.raises(ExceptionGroup) as raised:
        async with watching(scene):
            monkeypatch.setattr(watch, "kill_and_await", defect)
            scene.processes[-1].kill()
            await asyncio.Event().wait()
    assert raised.group_contains(KeyError)


async def test_a_ledger_on_a_disk_that_hangs_keeps_no_pair_dead(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(watch, "BUDGET_S", 0.1)
    monkeypatch.setattr(watch, "BLIND_WAIT_S", 0.1)
    monkeypatch.setattr(budget, "withdraw", lambda *_, **__: released.wait(60))
    try:
        await assert_comes_back(scene)
    finally:
        released.set()


async def test_one_that_does_not_die_is_killed_again_and_nobody_takes_its_place(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills: list[Identity] = []
    began: list[float] = []

    async def stays(victim: Identity) -> Outcome:
        kills.append(victim)
        began.append(scene.watch._down_s)
        return Outcome.STAYS

    kill = fence.kill_and_await
    async with watching(scene) as partner:
        monkeypatch.setattr(watch, "kill_and_await", stays)
        scene.processes[-1].send_signal(signal.SIGSTOP)
        await eventually_async(lambda: len(kills) > 1, WITHIN_S)
        assert len(scene.processes) == 1
        monkeypatch.setattr(watch, "kill_and_await", kill)
        assert await scene.until_up() != partner
        assert set(kills) == {partner}
        assert len(set(began)) == 1  # it is one outage, and as long as that
