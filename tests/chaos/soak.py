"""Random faults on a real cluster under calling clients: python -m tests.chaos.soak --faults N --seed S

Two servers, a router, four posting clients, and a reader with an open timeline. The faults come by seed, at random
moments, sometimes one on top of another. At the end nothing acknowledged is lost, nothing is stored or seen twice
or out of order, no two masters of one server were seen, epochs only rose, and everything runs. What each observer
saw, remembered and did was recorded: the judge and the machine do it all the same again, and the explorer knows
each change. A seed that fails is replayed by giving it again: the schedule is the same, the moments nearly so.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snsnode.base.signals import exit_on_signals
from snsnode.guard.times import SHIPPED, Times
from snsnode.node.process import is_alive, state_of
from snsnode.observe.journal import read
from tests.chaos import history
from tests.chaos.faults import Fault, Injector, schedule
from tests.chaos.hooks import Hooks
from tests.chaos.outside import Watcher, answer, watching
from tests.chaos.replay import replay
from tests.chaos.workload import Workload
from tests.cluster import Cluster, running
from tests.explorer.replay import explained

REST_WITHIN_S = 90.0
REPORTED_WITHIN_S = 30.0
# Slower than the tests' usual, so that a busy machine kills nobody in vain, and faster than the product's.
SETTINGS = Times(interval_s=1.0, timeout_s=0.5, silence_s=3.0, backoff_max_s=SHIPPED.backoff_max_s)
KEEPALIVE = "{interval: 1s, timeout: 0.5s, silence: 3s}"


@dataclass
class Report:
    """What a soak did and found; without ``problems`` it passed."""

    seed: int
    schedule: Sequence[Fault]
    done: int = 0
    posts: int = 0
    seen: int = 0
    slowest_s: float = 0.0  # the longest call of a poster
    looks: int = 0
    took_s: float = 0.0
    replayed: str = ""  # what the replay of the recordings saw
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = Counter(fault.kind for fault in self.schedule[: self.done])
        lines = [
            f"seed {self.seed}: {self.done} faults in {self.took_s:.0f} s, {self.posts} posts "
            f"acknowledged, {self.seen} seen, slowest call {self.slowest_s:.2f} s, {self.looks} looks",
            ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())),
            self.replayed,
        ]
        if self.problems:
            lines += [f"FAILED: {problem}" for problem in self.problems]
            lines += [f"replay: python -m tests.chaos.soak --faults {len(self.schedule)} --seed {self.seed}"]
            lines += [f"  {fault}" for fault in self.schedule[: self.done + 1]]
        return "\n".join(lines)


class _Soak:
    def __init__(self, cluster: Cluster, report: Report, until_s: float, tell: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._report = report
        self._until_s = until_s
        self._tell = tell
        self._injector = Injector(cluster)

    async def run(self) -> None:
        workload = Workload(self._cluster)
        await workload.run(self._faults)
        self._report.problems += workload.problems
        self._report.posts, self._report.seen = len(workload.acknowledged), len(workload.seen)
        self._report.slowest_s = workload.slowest_s
        await asyncio.to_thread(self._check_supervisors)

    # --- the faults -----------------------------------------------------------------------------------------

    async def _faults(self) -> None:
        async with asyncio.TaskGroup() as group:
            doing: list[asyncio.Task[None]] = []
            for fault in self._report.schedule:
                if not fault.overlaps:
                    if doing:
                        await asyncio.wait(doing)
                        doing.clear()
                    if not await self._at_rest(f"before {fault}"):
                        return
                    if time.monotonic() > self._until_s:
                        return
                await asyncio.sleep(fault.gap_s)
                self._tell(str(fault))
                doing.append(group.create_task(self._do(fault), name=str(fault)))
                self._report.done += 1
        await self._at_rest("at the end")

    async def _do(self, fault: Fault) -> None:
        try:
            await asyncio.to_thread(self._injector.do, fault)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self._report.problems.append(f"{fault}: {error}")

    async def _at_rest(self, when: str) -> bool:
        """Wait until all that was broken is repaired; that it is, without an operator, is a check itself."""
        until_s = time.monotonic() + REST_WITHIN_S
        while missing := await asyncio.to_thread(self._missing):
            if time.monotonic() > until_s:
                self._report.problems.append(f"not at rest {when}: {', '.join(missing)}")
                return False
            await asyncio.sleep(0.05)
        return True

    def _missing(self) -> list[str]:
        cluster = self._cluster
        hung = [victim for victim in tuple(self._injector.condemned) if is_alive(victim)]
        missing = [f"process {victim.pid}, hung, still lives" for victim in hung]
        wanted = [(vm, role) for vm in cluster.server_vms for role in ("slave", "master", "spare")]
        for vm, role in (*wanted, (cluster.router_vm, "router")):
            found = cluster.process(vm, role)
            if found is None or (state_of(found) == "T" and role != "spare"):
                missing.append(f"{role} of {vm}")
        missing += [f"supervisord of {vm}" for vm in cluster.vms if cluster.supervisord(vm) is None]
        if not missing:
            missing = [f"an answer of {vm}" for vm in cluster.server_vms if answer(cluster, vm) is None]
        return missing

    def _check_supervisors(self) -> None:
        for vm in self._cluster.vms:
            until_s = time.monotonic() + REPORTED_WITHIN_S
            while wrong := self._misreported(vm):
                if time.monotonic() > until_s:
                    self._report.problems.append(wrong)
                    break
                time.sleep(0.2)

    def _misreported(self, vm: str) -> str:
        told = self._cluster.supervisorctl(vm, "status", code=None).stdout
        for role in ("router",) if vm == self._cluster.router_vm else ("slave", "master"):
            found = self._cluster.process(vm, role)
            line = next((line.split() for line in told.splitlines() if line.startswith(role)), [])
            if found is None or line[1:4] != ["RUNNING", "pid", f"{found.pid},"]:
                return f"supervisorctl status of {vm} says {told!r} where the {role} is {found}"
        return ""


def soak(
    faults: int,
    seed: int,
    *,
    minutes: float = 24 * 60,
    tell: Callable[[str], None] = lambda _: None,
    keep: Path | None = None,
) -> Report:
    """Run one soak on a cluster of its own; logs of a failed one are copied to ``keep``."""
    with running(servers=2, keepalive=KEEPALIVE, start=False) as cluster:
        recordings = Hooks(cluster).record()
        cluster.start()
        report = Report(seed, schedule(seed, faults, cluster.server_vms))
        began_s = time.monotonic()
        with watching(cluster) as watcher:
            asyncio.run(_Soak(cluster, report, began_s + minutes * 60, tell).run())
        report.took_s = time.monotonic() - began_s
        _judge(cluster, report, watcher)
        _replay(recordings, report)
        if report.problems and keep is not None:
            shutil.copytree(cluster.home, keep, ignore=shutil.ignore_patterns("*.sock*"))
            shutil.copytree(recordings, keep / "recordings")
    return report


def _judge(cluster: Cluster, report: Report, watcher: Watcher) -> None:
    report.looks = watcher.looks
    report.problems += watcher.problems
    report.problems += history.check_answers(watcher.answers)
    report.problems += history.check_served(
        {
            vm: [
                int(entry.fields["epoch"])
                for entry in read(cluster.vm_dir(vm).journal)
                if entry.event == "serving"
            ]
            for vm in cluster.server_vms
        }
    )


def _replay(recordings: Path, report: Report) -> None:
    """Replay what each observer saw and did, and compare it with the explorer's world."""
    replayed = replay(recordings)
    report.problems += replayed.problems
    if not replayed.looks or not replayed.steps:
        report.problems.append(f"nothing was recorded: {replayed}")
    compared = explained(replayed, SETTINGS)
    unknown = [f"not met by the explorer, {n} times: {what}" for what, n in compared.problems.items()]
    report.problems += [] if compared.is_known else unknown
    report.replayed = "\n".join([str(replayed), str(compared), *unknown])


def main() -> int:
    """Run, print the report, and exit with 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=300, help="how many (default 300)")
    parser.add_argument("--seed", type=int, default=None, help="of the schedule (default: by the clock)")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="end earlier, after so long")
    parser.add_argument("--keep", type=Path, default=None, help="copy the home of a failed run to this new folder")
    parser.add_argument("--verbose", action="store_true", help="tell each fault")
    given = parser.parse_args()
    if given.keep is not None and given.keep.exists():
        parser.error(f"--keep {given.keep} exists; name a new folder")
    seed = int(time.time()) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    began_s = time.monotonic()

    def tell(text: str) -> None:
        if given.verbose:
            print(f"{time.monotonic() - began_s:8.2f} s  {text}", flush=True)

    report = soak(given.faults, seed, minutes=given.minutes, tell=tell, keep=given.keep)
    print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    with exit_on_signals():  # what it started is ended, too
        sys.exit(main())
