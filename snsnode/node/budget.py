"""The restart budget of a pair: a pure rule, and the ledger on disk that both partners and the plug-in share.

The rule is OTP's "maximum restart intensity" (Erlang/OTP Design Principles, Supervisor Behaviour), with a delay
instead of giving up: the first ``intensity`` restarts within ``period_s`` are immediate, later ones wait 0.1 s,
doubling up to ``backoff_max_s``, ± 20 %, for ever. A period without a restart resets the delay.
"""

import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snsnode.base import aside, fields, reading
from snsnode.base.backoff import Backoff
from snsnode.node.config import Restart
from snsnode.node.durable import write_text
from snsnode.node.paths import VmDir
from snsnode.node.process import boot_id
from snsnode.node.shortage import is_shortage

FIRST_DELAY_S = 0.1
AHEAD_MAX_S = 600.0  # a wait is 5 min at most, and a fifth more
LEDGER_BYTES_MAX = 512 * 1024  # ten thousand restarts within a period
ROLES_MAX = 16
_LOCK_S = 0.05


@dataclass(frozen=True, slots=True)
class Budget:
    """What was spent. Times are seconds of the monotonic clock, shared by all processes of one boot."""

    recent_s: tuple[float, ...] = ()
    delayed: int = 0  # restarts in a row that had to wait
    totals: dict[str, int] = field(default_factory=dict)  # role → restarts since the ledger began

    @property
    def degraded(self) -> bool:
        """The budget is used up: restarts go on slowly, and somebody should look."""
        return self.delayed > 0

    def waits(self, now_s: float) -> bool:
        """Tell whether somebody waits before a restart, as it was told: that one is not hanging."""
        return any(at_s > now_s for at_s in self.recent_s)


# What this process spent and could not write: its restarts, and their number for each role. A partner may write
# the ledger meanwhile, so this is added to what the ledger holds by then.
_unwritten: dict[Path, Budget] = {}
_seen: dict[Path, Budget] = {}  # the ledger as it was read or written last, for when it cannot be read


def spend(
    budget: Budget, rule: Restart, role: str, now_s: float, unit: float, *, hopeless: bool = False
) -> tuple[Budget, float]:
    """Account for one restart of ``role`` and return the new budget and the seconds to wait before it.

    ``unit`` is a random number in [0, 1). ``hopeless`` marks a cause that a restart cannot mend (exit 78, bad
    configuration): it goes straight to the longest delay.
    """
    backoff = Backoff(FIRST_DELAY_S, rule.backoff_max_s)
    # A restart that is still being waited for lies ahead, by the longest delay at most.
    ahead_s = backoff.around_s(64, 1.0)
    within = sorted(at_s for at_s in budget.recent_s if -ahead_s <= now_s - at_s < rule.period_s)
    delayed = budget.delayed if within else 0  # a quiet period resets the delay
    if hopeless:
        delayed, wait_s = max(delayed, 1), backoff.around_s(64, unit)
    elif delayed == 0 and len(within) < rule.intensity:
        # Not so once one was delayed: waits longer than the period would let bursts through for ever.
        wait_s = 0.0
    else:
        wait_s = backoff.around_s(delayed, unit)
        delayed += 1
    totals = budget.totals | {role: budget.totals.get(role, 0) + 1}
    # A restart counts from when it happens: the quiet period begins after the wait, not before it.
    recent_s = (*within[-rule.intensity :], now_s + wait_s)
    return Budget(recent_s, delayed, totals), wait_s


def read(vm_dir: VmDir) -> Budget:
    """Return the ledger; a missing or damaged one, or one of an earlier boot, starts anew (totals are kept)."""
    try:
        return _read(_ledger(vm_dir))
    except (OSError, reading.Damaged) as error:
        if is_shortage(error):
            raise  # we do not know now what was spent
        return Budget()


def is_waiting(vm_dir: VmDir) -> bool:
    """As ``Budget.waits``, of the ledger and of what we could not write there."""
    now_s = time.monotonic()
    return _unwritten.get(_ledger(vm_dir), Budget()).waits(now_s) or read(vm_dir).waits(now_s)


def withdraw(
    vm_dir: VmDir, rule: Restart, role: str, unit: float, *, hopeless: bool = False
) -> tuple[Budget, float]:
    """Spend one restart from the ledger on disk; see ``spend``.

    A disk that takes or gives nothing (full, read-only, no descriptor left) never stops a restart, and never makes
    it free: this process then remembers what it spent.
    """
    path, now_s = _ledger(vm_dir), time.monotonic()
    with _exclusive(vm_dir):
        ledger, unwritten = _on_disk(path), _unwritten.get(path, Budget())
        before = _merged(ledger or _seen.get(path, Budget()), unwritten, now_s - rule.period_s)
        budget, wait_s = spend(before, rule, role, now_s, unit, hopeless=hopeless)
        if ledger is None or not _write(path, budget):
            recent_s = (*unwritten.recent_s, now_s + wait_s)[-rule.intensity - 1 :]
            _unwritten[path] = Budget(recent_s, budget.delayed, _plus_one(unwritten.totals, role))
        return budget, wait_s


def count(vm_dir: VmDir, role: str) -> None:
    """Count a restart of ``role`` in the totals and spend nothing: another's restart, already spent, brings it."""
    path = _ledger(vm_dir)
    with _exclusive(vm_dir):
        ledger = _on_disk(path)
        unwritten = _unwritten.get(path, Budget())
        unwritten = dataclasses.replace(unwritten, totals=_plus_one(unwritten.totals, role))
        if ledger is None or not _write(path, _merged(ledger, unwritten, float("-inf"))):
            _unwritten[path] = unwritten


def _merged(ledger: Budget, unwritten: Budget, since_s: float) -> Budget:
    """Add what was spent and not written to the ledger; what was delayed before ``since_s`` does not count."""
    recent_s = tuple(sorted({*ledger.recent_s, *unwritten.recent_s}))
    delayed = unwritten.delayed if any(at_s > since_s for at_s in unwritten.recent_s) else 0
    more = {role: ledger.totals.get(role, 0) + count for role, count in unwritten.totals.items()}
    return Budget(recent_s, max(ledger.delayed, delayed), ledger.totals | more)


def _plus_one(totals: dict[str, int], role: str) -> dict[str, int]:
    return totals | {role: totals.get(role, 0) + 1}


def _on_disk(ledger: Path) -> Budget | None:
    """Return the ledger, and set a damaged one aside, under the lock; None where it cannot be read now."""
    try:
        _seen[ledger] = _read(ledger)
    except reading.Damaged as error:
        aside.set_aside(ledger, str(error))
        _seen[ledger] = Budget()
    except FileNotFoundError:
        _seen[ledger] = Budget()
    except OSError:
        return None  # it may hold more than we know, so it is not overwritten
    return _seen[ledger]


def _read(ledger: Path) -> Budget:
    raw = reading.read_object(ledger, LEDGER_BYTES_MAX)
    totals = {
        role: fields.whole_of(count, f"the total of {reading.named(role)}", 0, 10**12)
        for role, count in _totals(raw)
    }
    if fields.text(raw, "boot_id", 64) != boot_id():
        return Budget(totals=totals)
    recent_s = raw.get("recent_s")
    if not isinstance(recent_s, list):
        raise reading.Damaged(f"recent_s is {reading.named(recent_s)}, no list")
    latest_s = time.monotonic() + AHEAD_MAX_S
    within = tuple(fields.real_of(at_s, "a time", 0.0, latest_s) for at_s in recent_s)
    return Budget(within, fields.whole(raw, "delayed", 0, 10**9), totals)


def _totals(raw: dict[str, Any]) -> Iterable[tuple[str, object]]:
    totals = raw.get("totals")
    if not isinstance(totals, dict) or len(totals) > ROLES_MAX:
        raise reading.Damaged(f"totals is {reading.named(totals)}, no object of at most {ROLES_MAX} roles")
    return totals.items()


def _write(ledger: Path, budget: Budget) -> bool:
    """Write the ledger, with all that was unwritten in it; False where the disk does not take it."""
    text = json.dumps({"boot_id": boot_id()} | dataclasses.asdict(budget))
    try:
        write_text(ledger, text, fsync=False)
    except OSError:
        return False
    _seen[ledger] = budget
    _unwritten.pop(ledger, None)
    return True


def _ledger(vm_dir: VmDir) -> Path:
    return vm_dir.state / "restarts.json"


@contextmanager
def _exclusive(vm_dir: VmDir) -> Iterator[None]:
    """Serialise the ledger's writers; it is held for microseconds.

    A partner that was frozen while it held the lock must not freeze the other: after ``_LOCK_S`` we go on
    without, and at worst one restart is not counted. So we do where there is no folder to lock.
    """
    try:
        vm_dir.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(vm_dir.state, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    try:
        until_s = time.monotonic() + _LOCK_S
        while not _try_lock(descriptor) and time.monotonic() < until_s:
            time.sleep(0.001)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
