"""Every small file of a VM, with anything in its place: readers go on, owners set it aside, and the pair lives."""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from snsnode.base import aside
from snsnode.base.errors import ConfigError
from snsnode.base.ids import Epoch
from snsnode.node import budget, config, epoch, intent
from snsnode.node.config import Restart
from snsnode.node.lock import RoleLock, is_locked, live_holder, read_holder
from snsnode.node.paths import VmDir
from snsnode.node.process import boot_id, me
from tests.unit.test_base_reading import DAMAGED, STRANGERS, put_fifo

RULE = Restart(5, 10.0, 10.0)


@pytest.fixture
def vm(tmp_path: Path) -> VmDir:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    return vm


@pytest.fixture(autouse=True)
def told() -> Iterator[list[str]]:
    told: list[str] = []

    def listener(path: Path, place: Path, cause: str) -> None:
        told.append(path.name)

    aside._told_s.clear()
    aside.listeners.append(listener)
    yield told
    aside.listeners.remove(listener)


class Kept(NamedTuple):
    """A file, what its readers make of a damaged one, and what its owner does when it needs it next."""

    path: Callable[[VmDir], Path]
    read: Callable[[VmDir], object]
    expected: object
    own: Callable[[VmDir], object]


def own_pid_file(vm: VmDir) -> None:
    lock = RoleLock(vm, "master")
    lock.take()
    damaged = vm.pid("master").with_name("damaged")
    vm.pid("master").rename(damaged)
    lock.announce(epoch=3)
    vm.pid("master").unlink()
    damaged.rename(vm.pid("master"))
    lock.keep()
    found = live_holder(vm, "master")
    assert found is not None
    assert (found.identity, found.epoch) == (me(), 3)
    lock.withdraw()


def own_epoch(vm: VmDir) -> None:
    assert epoch.take(vm) == 0
    epoch.record(vm, Epoch(4))
    assert epoch.read(vm) == 4


def own_ledger(vm: VmDir) -> None:
    spent, wait_s = budget.withdraw(vm, RULE, "master", 0.5)
    assert (spent.totals, wait_s) == ({"master": 1}, 0.0)
    assert budget.read(vm) == spent


FILES = {
    "epoch": Kept(lambda vm: vm.state / "epoch", epoch.read, 0, own_epoch),
    "pid file": Kept(lambda vm: vm.pid("master"), lambda vm: read_holder(vm, "master"), None, own_pid_file),
    "ledger": Kept(lambda vm: vm.state / "restarts.json", budget.read, budget.Budget(), own_ledger),
}
LEDGER = {"boot_id": boot_id(), "recent_s": [1.0], "delayed": 0, "totals": {"master": 1}}
HOLDER = {"start_ticks": 1, "boot_id": boot_id(), "epoch": 1, "config": "x", "since_s": 1.0}
ENDPOINT = {"vm": "vm1", "address": "127.0.0.1", "port": 3010}
NODE: dict[str, Any] = {
    "format": 1,
    "cluster": "c",
    "vm": "vm2",
    "address": "127.0.0.1",
    "router_port": None,
    "server_port": 3020,
    "routers": [ENDPOINT],
    "store": "sqlite:///sns.db",
    "selection": "single",
    "spare": True,
    "keepalive": {"interval_s": 3.0, "timeout_s": 1.0, "silence_s": 9.0},
    "restart": {"intensity": 5, "period_s": 10.0, "backoff_max_s": 10.0},
}
OF_ANOTHER_TYPE: list[object] = [None, True, -1, 1.5, 1e300, 2**63 - 1, "x", "1", [], {}, [[[1]]], {"a": {}}]


@pytest.mark.parametrize("kept", FILES.values(), ids=FILES)
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_content_costs_what_it_held_and_is_set_aside(
    vm: VmDir, kept: Kept, content: bytes, told: list[str]
) -> None:
    path = kept.path(vm)
    path.write_bytes(content)
    assert kept.read(vm) == kept.expected
    assert told == []  # a reader may have caught the writer half-way
    kept.own(vm)
    assert told == [path.name]
    assert path.with_name(f"{path.name}.damaged-1").read_bytes() == content


@pytest.mark.parametrize("kept", FILES.values(), ids=FILES)
@pytest.mark.parametrize("put", STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_file_holds_nobody_up_and_is_set_aside(
    vm: VmDir, kept: Kept, put: Callable[[Path], None], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(vm.path)  # a socket's name is short
    put(kept.path(VmDir(Path())))
    assert kept.read(vm) == kept.expected
    kept.own(vm)
    assert told == [kept.path(vm).name]


@pytest.mark.parametrize("key", LEDGER)
@pytest.mark.parametrize("value", OF_ANOTHER_TYPE, ids=repr)
def test_a_ledger_with_a_field_of_another_type_or_range_delays_nobody_for_ever(
    vm: VmDir, key: str, value: object
) -> None:
    (vm.state / "restarts.json").write_text(json.dumps(LEDGER | {key: value}))
    assert budget.is_waiting(vm) is False
    _, wait_s = budget.withdraw(vm, RULE, "master", 0.5)
    assert wait_s <= RULE.backoff_max_s
    assert budget.read(vm).totals["master"] >= 1


@pytest.mark.parametrize("key", HOLDER)
@pytest.mark.parametrize("value", OF_ANOTHER_TYPE, ids=repr)
def test_a_pid_file_with_a_field_of_another_type_or_range_names_nobody_alive(
    vm: VmDir, key: str, value: object
) -> None:
    vm.pid("master").write_text(f"{os.getpid()}\n{json.dumps(HOLDER | {key: value})}\n")
    assert live_holder(vm, "master") is None
    found = read_holder(vm, "master")
    assert found is None or 0 <= found.uptime_s < 1e12


@pytest.mark.parametrize("put", STRANGERS.values(), ids=STRANGERS)
def test_what_stands_in_a_locks_place_keeps_no_role_from_starting(
    vm: VmDir, put: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if put is STRANGERS["an endless device"]:
        return  # a device takes a lock as well as a file
    monkeypatch.chdir(vm.path)
    put(VmDir(Path()).lock("slave"))
    assert is_locked(vm, "slave") is False
    lock = RoleLock(vm, "slave")
    lock.take()
    assert is_locked(vm, "slave")
    put_fifo(vm.lock("master"))
    lock.keep()
    lock.withdraw()


@pytest.mark.parametrize("put", [Path.mkdir, put_fifo])
def test_marks_of_any_kind_can_be_made_and_taken_back(vm: VmDir, put: Callable[[Path], None]) -> None:
    for name in ("slave.stopped", "master.stopped", "paused", "drained"):
        put(vm.state / name)
    for role in ("slave", "master"):
        put(vm.run / f"{role}.started")
    put(vm.run / "shutdown")
    assert (intent.is_stopped(vm, "slave"), intent.is_paused(vm), intent.is_drained(vm)) == (True, True, True)
    assert intent.is_shutting_down(vm) is False
    assert intent.was_stopped(vm, "master", 0.0, 1e9) is False
    intent.start(vm, "slave")
    intent.resume(vm)
    intent.undrain(vm)
    assert intent.may_start(vm, "slave")
    assert intent.may_start(vm, "master")
    assert intent.was_stopped(vm, "master", 0.0, 1e9)
    intent.mark_shutdown(vm)
    assert intent.is_shutting_down(vm)


@pytest.mark.parametrize("words", ["nan", "inf", "-inf", "1e999", "x" * 9000, "\0", "1 1"])
def test_a_damaged_word_or_shutdown_mark_says_nothing(vm: VmDir, words: str) -> None:
    (vm.run / "master.started").write_text(words)
    (vm.run / "shutdown").write_text(words)
    assert intent.was_stopped(vm, "master", 0.0, 1e9) is False
    assert intent.is_shutting_down(vm) is False


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_node_json_is_refused_in_one_line(vm: VmDir, content: bytes) -> None:
    (vm.path / "node.json").write_bytes(content)
    refuse(vm)


@pytest.mark.parametrize("put", STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_node_json_is_refused_in_one_line(
    vm: VmDir, put: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(vm.path)
    put(Path("node.json"))
    refuse(vm)


def test_a_node_json_with_any_field_of_another_type_or_range_is_refused_or_works(vm: VmDir) -> None:
    endpoint, good = ENDPOINT, NODE
    assert config.from_json(json.dumps(good)).roles == ("slave", "master")
    wrong = [*OF_ANOTHER_TYPE, "../../etc", "a\nb", "x" * 9000, 65536, 10**9]
    refused = 0
    for key in good:
        for value in wrong:
            variants = [good | {key: value}]
            if isinstance(good[key], dict):
                variants += [good | {key: good[key] | {inner: value}} for inner in good[key]]
            if key == "routers":
                variants += [good | {key: [endpoint | {inner: value}]} for inner in endpoint]
            for variant in variants:
                (vm.path / "node.json").write_text(json.dumps(variant))
                try:
                    config.load(vm.path)
                except ConfigError as error:
                    refused += 1
                    assert "\n" not in error.message
    assert refused > 300


@pytest.mark.parametrize("part", [{}, {"keepalive": NODE["keepalive"] | {"k" * 9000: 1}}])
def test_a_node_json_with_a_long_key_is_refused_briefly(vm: VmDir, part: dict[str, Any]) -> None:
    (vm.path / "node.json").write_text(json.dumps(NODE | (part or {"k" * 9000: 1})))
    refuse(vm)


def refuse(vm: VmDir) -> None:
    with pytest.raises(ConfigError) as refused:
        config.load(vm.path)
    assert "cannot read" in refused.value.message
    assert "run 'snsctl generate' to write it anew" in refused.value.message
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 500


def test_a_file_in_a_folders_place_is_set_aside(tmp_path: Path, told: list[str]) -> None:
    vm = VmDir(tmp_path / "vm2")
    vm.path.mkdir()
    vm.run.write_text("no folder")
    put_fifo(vm.state)
    vm.make()
    assert vm.run.is_dir()
    assert vm.state.is_dir()
    assert told == ["run", "state"]


def test_an_epoch_far_above_the_stores_is_not_believed(vm: VmDir, told: list[str]) -> None:
    assert not epoch.is_beyond_belief(Epoch(1007), Epoch(7))
    assert epoch.is_beyond_belief(Epoch(1008), Epoch(7))
    epoch.record(vm, Epoch(2**61))
    epoch.disbelieve(vm, Epoch(2**61), Epoch(7))
    assert told == ["epoch"]
    assert epoch.read(vm) == 0


def test_bytes_at_random_in_any_file_end_nobody(vm: VmDir) -> None:
    chance = random.Random(7)
    for _ in range(300):
        content = chance.randbytes(chance.randrange(200))
        for kept in FILES.values():
            kept.path(vm).write_bytes(content)
            kept.read(vm)
