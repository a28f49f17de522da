"""The restart budget: the rule, and the ledger that two processes share."""

import errno
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snsnode.base import reading
from snsnode.node import budget
from snsnode.node.budget import Budget, spend
from snsnode.node.config import Restart
from snsnode.node.paths import VmDir
from snsnode.node.process import boot_id
from tests.eventually import eventually
from tests.full_disk import small_disk

RULE = Restart(intensity=5, period_s=10.0, backoff_max_s=10.0)
MIDDLE = 0.5  # no jitter


def crash_loop(count: int, rule: Restart = RULE, lives_s: float = 0.0, unit: float = MIDDLE) -> list[float]:
    """Return the waits of a partner that dies ``lives_s`` after each restart."""
    spent, now_s, waits = Budget(), 100.0, []
    for _ in range(count):
        spent, wait_s = spend(spent, rule, "master", now_s, unit)
        waits.append(wait_s)
        now_s += wait_s + lives_s
    return waits


def test_first_restarts_are_immediate_then_waits_double_up_to_the_maximum() -> None:
    expected = [0.0] * 5 + [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4] + [10.0] * 20
    assert crash_loop(32) == pytest.approx(expected)


def test_waits_longer_than_the_period_let_no_bursts_through() -> None:
    waits = crash_loop(60, Restart(intensity=5, period_s=1.0, backoff_max_s=60.0))
    assert all(wait_s > 0 for wait_s in waits[5:])
    assert waits[-1] == pytest.approx(60.0)


@pytest.mark.parametrize(("unit", "factor"), [(0.0, 0.8), (0.5, 1.0), (0.999999, 1.2)])
def test_jitter_is_a_fifth(unit: float, factor: float) -> None:
    assert crash_loop(7, unit=unit)[5:] == pytest.approx([0.1 * factor, 0.2 * factor], rel=1e-4)


def test_a_period_without_a_restart_resets_the_delay_and_the_count() -> None:
    spent, now_s = Budget(), 0.0
    for _ in range(20):
        spent, wait_s = spend(spent, RULE, "master", now_s, MIDDLE)
        now_s += wait_s
    assert spent.degraded
    now_s += RULE.period_s
    waits = []
    for _ in range(6):
        spent, wait_s = spend(spent, RULE, "master", now_s, MIDDLE)
        waits.append(wait_s)
    assert waits == pytest.approx([0.0] * 5 + [0.1])


def test_almost_a_period_resets_nothing() -> None:
    spent, now_s = Budget(), 0.0
    for _ in range(8):
        spent, wait_s = spend(spent, RULE, "master", now_s, MIDDLE)
        now_s += wait_s
    _, wait_s = spend(spent, RULE, "master", now_s + RULE.period_s - 0.01, MIDDLE)
    assert wait_s == pytest.approx(0.8)


def test_a_slow_crash_loop_stays_immediate() -> None:
    assert set(crash_loop(50, lives_s=RULE.period_s / RULE.intensity)) == {0.0}


def test_the_quiet_period_begins_after_the_wait() -> None:
    rule = Restart(intensity=1, period_s=1.0, backoff_max_s=100.0)
    spent = Budget(recent_s=(0.0,), delayed=8)
    spent, wait_s = spend(spent, rule, "master", 0.5, MIDDLE)
    assert wait_s == pytest.approx(25.6)
    _, wait_s = spend(spent, rule, "master", 0.5 + 25.6 + 0.5, MIDDLE)
    assert wait_s == pytest.approx(51.2)


def test_a_restart_that_is_still_waited_for_is_no_quiet_period() -> None:
    rule = Restart(intensity=1, period_s=1.0, backoff_max_s=100.0)
    spent, wait_s = spend(Budget(recent_s=(0.0,), delayed=8), rule, "master", 0.5, MIDDLE)
    assert wait_s == pytest.approx(25.6)
    _, wait_s = spend(spent, rule, "slave", 5.0, MIDDLE)
    assert wait_s == pytest.approx(51.2)


def test_both_partners_spend_from_one_budget() -> None:
    spent = Budget()
    waits = []
    for number in range(7):
        spent, wait_s = spend(spent, RULE, ("master", "slave")[number % 2], 50.0, MIDDLE)
        waits.append(wait_s)
    assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2])
    assert spent.totals == {"master": 4, "slave": 3}


def test_hopeless_goes_straight_to_the_longest_delay_and_degrades() -> None:
    spent, wait_s = spend(Budget(), RULE, "master", 0.0, MIDDLE, hopeless=True)
    assert wait_s == RULE.backoff_max_s
    assert spent.degraded
    assert not spend(Budget(), RULE, "master", 0.0, MIDDLE)[0].degraded


# --- the ledger --------------------------------------------------------------------------------------------


def ledger(vm: VmDir) -> Path:
    vm.make()
    return vm.state / "restarts.json"


def test_withdraw_remembers(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    waits = [budget.withdraw(vm, RULE, "master", MIDDLE)[1] for _ in range(7)]
    assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2])
    found = budget.read(vm)
    assert (found.totals, found.delayed, found.degraded) == ({"master": 7}, 2, True)
    assert len(found.recent_s) == RULE.intensity + 1


def test_count_raises_the_total_and_spends_nothing(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    budget.withdraw(vm, RULE, "master", MIDDLE)
    before = budget.read(vm)
    for _ in range(RULE.intensity):
        budget.count(vm, "slave")
    after = budget.read(vm)
    assert after.totals == {"master": 1, "slave": RULE.intensity}
    assert (after.recent_s, after.delayed) == (before.recent_s, before.delayed)
    assert budget.withdraw(vm, RULE, "slave", MIDDLE)[1] == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "5",
        "[]",
        '{"totals": 5}',
        '{"totals": {"master": "x"}}',
        '{"totals": {}, "boot_id": "BOOT", "recent_s": 5, "delayed": 0}',
        '{"totals": {}, "boot_id": "BOOT", "recent_s": ["x"], "delayed": 0}',
        '{"totals": {}, "boot_id": "BOOT", "recent_s": [], "delayed": Infinity}',
        '{"totals": {"master": Infinity}, "boot_id": "BOOT", "recent_s": [], "delayed": 0}',
        '{"totals": {}, "boot_id": "BOOT", "recent_s": [NaN, 1e300, -1e300], "delayed": -7}',
        '{"totals": {}, "boot_id": "BOOT", "recent_s": [1e300], "delayed": 40}',
    ],
)
def test_a_damaged_ledger_starts_anew(tmp_path: Path, text: str) -> None:
    vm = VmDir(tmp_path / "vm2")
    ledger(vm).write_text(text.replace("BOOT", boot_id()))
    spent, wait_s = budget.withdraw(vm, RULE, "master", MIDDLE)
    assert (wait_s, spent.totals, spent.delayed) == (0.0, {"master": 1}, 0)


def test_a_negative_count_of_delays_reads_as_none(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    raw = {"totals": {}, "boot_id": boot_id(), "recent_s": [time.monotonic()], "delayed": -7}
    ledger(vm).write_text(json.dumps(raw))
    assert budget.withdraw(vm, RULE, "master", MIDDLE)[1] == 0.0


def test_a_ledger_that_is_no_text_starts_anew(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    ledger(vm).write_bytes(b"\xff\x00\xfe")
    assert budget.read(vm) == Budget()


def test_another_boot_keeps_the_totals_only(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    for _ in range(8):
        budget.withdraw(vm, RULE, "master", MIDDLE)
    raw = json.loads(ledger(vm).read_text())
    ledger(vm).write_text(json.dumps(raw | {"boot_id": "another"}))
    assert budget.read(vm) == Budget(totals={"master": 8})


_WITHDRAW = """
import sys
from pathlib import Path
from snsnode.node import budget
from snsnode.node.config import Restart
from snsnode.node.paths import VmDir
budget._LOCK_S = 10.0  # this machine may be busy; the lock is what is tested
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    budget.withdraw(VmDir(Path(sys.argv[1])), Restart(5, 10.0, 10.0), sys.argv[2], 0.5)
"""


def test_two_processes_lose_no_count(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    with _python(_WITHDRAW, str(vm.path), "master") as one, _python(_WITHDRAW, str(vm.path), "slave") as two:
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in (one, two):
            process.communicate(timeout=20)
            assert process.returncode == 0
    assert budget.read(vm).totals == {"master": 100, "slave": 100}
    assert list(vm.state.iterdir()) == [ledger(vm)]


_HOLD = """
import sys
from pathlib import Path
from snsnode.node import budget
from snsnode.node.paths import VmDir
with budget._exclusive(VmDir(Path(sys.argv[1]))):
    print("holding", flush=True)
    sys.stdin.readline()
"""


def test_a_frozen_holder_of_the_lock_stops_nobody(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    with _python(_HOLD, str(vm.path)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        holder.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{holder.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", within_s=15)
        assert budget.withdraw(vm, RULE, "master", MIDDLE)[1] == 0.0
        assert budget.read(vm).totals == {"master": 1}
        holder.kill()


def test_a_full_disk_neither_stops_a_restart_nor_makes_it_free() -> None:
    with small_disk() as disk:
        vm = VmDir(disk.folder / "vm2")
        vm.make()
        disk.fill()
        waits = [budget.withdraw(vm, RULE, "master", MIDDLE)[1] for _ in range(7)]
        assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2])
        disk.free()
        budget.withdraw(vm, RULE, "master", MIDDLE)
        assert budget.read(vm).totals == {"master": 8}
        ledger(vm).unlink()  # what is on the disk counts again
        budget.withdraw(vm, RULE, "slave", MIDDLE)
        assert budget.read(vm).totals == {"slave": 1}


_SPEND = """
import sys
from pathlib import Path
from snsnode.node import budget
from snsnode.node.config import Restart
from snsnode.node.paths import VmDir
for word in sys.stdin:
    spent, wait_s = budget.withdraw(VmDir(Path(sys.argv[1])), Restart(5, 10.0, 10.0), sys.argv[2], 0.5)
    print(spent.delayed, round(wait_s, 3), sum(spent.totals.values()), flush=True)
"""


class Partner:
    """A process of its own that spends from the ledger when it is told."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def withdraw(self) -> tuple[int, float, int]:
        """Return how many were delayed in a row, the wait, and all restarts."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("spend\n")
        self._process.stdin.flush()
        delayed, wait_s, total = self._process.stdout.readline().split()
        return int(delayed), float(wait_s), int(total)


@pytest.fixture
def partners(tmp_path: Path) -> Iterator[tuple[VmDir, Partner, Partner]]:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    with _python(_SPEND, str(vm.path), "master") as one, _python(_SPEND, str(vm.path), "slave") as two:
        yield vm, Partner(one), Partner(two)
        one.kill()
        two.kill()


def _takes_nothing(vm: VmDir) -> None:
    """Let no new file be made, whoever asks: the ledger's folder is a file's place."""
    vm.state.rename(vm.path / "state.away")
    vm.state.write_text("")


def _takes_again(vm: VmDir) -> None:
    vm.state.unlink()
    (vm.path / "state.away").rename(vm.state)


def test_what_no_disk_took_is_added_to_what_the_partner_wrote_meanwhile(
    partners: tuple[VmDir, Partner, Partner],
) -> None:
    vm, ours, theirs = partners
    assert ours.withdraw() == (0, 0.0, 1)
    _takes_nothing(vm)
    assert [ours.withdraw()[2] for _ in range(2)] == [2, 3]  # of which the disk knows nothing
    _takes_again(vm)
    assert [theirs.withdraw() for _ in range(3)] == [(0, 0.0, 2), (0, 0.0, 3), (0, 0.0, 4)]
    assert ours.withdraw() == (1, 0.1, 7)  # the six before are all in it
    assert budget.read(vm).totals == {"master": 4, "slave": 3}
    assert theirs.withdraw() == (2, 0.2, 8)


def test_a_ledger_that_cannot_be_read_now_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = VmDir(tmp_path / "vm2")
    for _ in range(6):
        budget.withdraw(vm, RULE, "master", MIDDLE)

    def no_descriptor(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as short:
        short.setattr(reading, "read_object", no_descriptor)
        assert budget.withdraw(vm, RULE, "slave", MIDDLE)[1] == pytest.approx(0.2)  # it goes on from what it knows
        budget.count(vm, "slave")
    assert budget.read(vm).totals == {"master": 6}
    assert budget.withdraw(vm, RULE, "master", MIDDLE)[1] == pytest.approx(0.4)
    assert budget.read(vm).totals == {"master": 7, "slave": 2}


def test_no_folder_to_lock_stops_no_restart(tmp_path: Path) -> None:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    _takes_nothing(vm)
    waits = [budget.withdraw(vm, RULE, "master", MIDDLE)[1] for _ in range(7)]
    assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2])
    budget.count(vm, "slave")


def test_a_delay_that_was_never_written_is_forgotten_after_a_quiet_period(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = VmDir(tmp_path / "vm2")
    vm.make()
    _takes_nothing(vm)
    for _ in range(9):
        budget.withdraw(vm, RULE, "master", MIDDLE)
    _takes_again(vm)
    later_s = time.monotonic() + 2 * RULE.period_s
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    spent, wait_s = budget.withdraw(vm, RULE, "master", MIDDLE)
    assert (spent.delayed, wait_s, spent.totals) == (0, 0.0, {"master": 10})


def test_a_read_only_disk_neither_stops_a_restart_nor_makes_it_free() -> None:
    with small_disk() as disk:
        vm = VmDir(disk.folder / "vm2")
        vm.make()
        disk.freeze()
        try:
            waits = [budget.withdraw(vm, RULE, "master", MIDDLE)[1] for _ in range(7)]
        finally:
            disk.thaw()
        assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2])
        budget.withdraw(vm, RULE, "slave", MIDDLE)
        assert budget.read(vm).totals == {"master": 7, "slave": 1}


def _python(program: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
