"""What clients see while servers and routers fail: python bench/failover.py [--n N] [--json] [CASE…]

standby           the available master is killed while another server stands by: ``call`` until the next post is
                  acknowledged, under a client that posts without a pause and another's open timeline
router-killed     one of two routers is killed: ``connect`` until a new client, which names the dead one first, is
                  logged in; calls of those who are logged in go on
router-restarted  the only router is killed: ``table`` from its successor's first answer until it knows all servers
rolling-restart   every role of every VM is restarted, one after the other, under load: ``call`` is the slowest
                  post during each restart
crowd             2,000 connected clients with open timelines in four processes lose their server: ``served`` until
                  each sees a post that was made after it; ``call`` for every 20th, which calls at that moment
vm-black-hole     a whole VM vanishes (bench/network.py; needs network namespaces)
slave-cut-off     a slave is cut off from the router for longer than a lease (tests/network, by proxies)

In all cases but the last two every acknowledged post is looked for in an open timeline: once, in order. Times in
milliseconds; --n is the number of faults, for the crowd too (default: 100, of restarts 3, of the crowd 1).
"""

import argparse
import asyncio
import itertools
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import BenchCluster
from figures import summary

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the crowd and the network are the tests' own

from snsnode.base.errors import SnsError
from snsnode.base.signals import exit_on_signals
from snsnode.client import Client
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2
from snsnode.transport.channels import call, open_channel
from tests.chaos.crowd import Crowd

SETTLE_S = 1.2  # between faults: a client backs off from a server that it loses within a second
WITHIN_S = 60.0
CROWD, CROWD_PROCESSES = 2000, 4
CROWD_WITHIN_S = 120.0


@dataclass
class Result:
    """What one case measured: times in milliseconds by name, and what must be zero."""

    times: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        """Add a time."""
        self.times.setdefault(name, []).append(seconds * 1000)

    def summary(self) -> dict[str, Any]:
        """Return n, p50, p99 and max of each time, and the failures."""
        rows: dict[str, Any] = dict(self.failures)
        for name, values in self.times.items():
            rows[name] = {"n": len(values), **summary(values)}
        return rows


class Load:
    """A client that posts without a pause, and another with an open timeline, which sees each post once."""

    def __init__(self, cluster: BenchCluster) -> None:
        self._routers = cluster.routers
        self._answered = asyncio.Condition()
        self._began_s = 0.0
        self._ended_s = 0.0
        self._stop = asyncio.Event()
        self._sent: list[str] = []
        self._seen: list[str] = []
        self.slowest_s = 0.0
        self.failed = 0

    async def __aenter__(self) -> "Load":
        self._author = await Client(self._routers, "author", deadline_s=WITHIN_S).__aenter__()
        self._reader = await Client(self._routers, "reader", deadline_s=WITHIN_S).__aenter__()
        await self._reader.follow("author")
        self._timeline = self._reader.timeline()
        await self._timeline.history()
        self._tasks = [asyncio.create_task(self._post()), asyncio.create_task(self._read())]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._stop.set()
        await asyncio.wait(self._tasks[:1])
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_S):
                while len(self._seen) < len(self._sent):
                    await asyncio.sleep(0.01)
        self._tasks[1].cancel()
        await asyncio.wait(self._tasks)
        await self._reader.__aexit__(None, None, None)
        await self._author.__aexit__(None, None, None)

    async def _post(self) -> None:
        number = 0
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                await self._author.post(str(number))
            except SnsError as error:
                self.failed += 1
                print(f"a call failed: {error}", file=sys.stderr)
            else:
                self._sent.append(str(number))
            number += 1
            async with self._answered:
                self._began_s, self._ended_s = began_s, time.monotonic()
                self.slowest_s = max(self.slowest_s, self._ended_s - began_s)
                self._answered.notify_all()
            await asyncio.sleep(0.001)

    async def _read(self) -> None:
        async for post in self._timeline:
            self._seen.append(post.text)

    async def first_after(self, gone_s: float) -> float:
        """Return when the first call that began after ``gone_s`` was answered.

        One that began before may have been answered by the victim, and its answer read after its death.
        """
        async with self._answered:
            await self._answered.wait_for(lambda: self._began_s > gone_s)
            return self._ended_s

    def failures(self) -> dict[str, int]:
        """Return what must be zero, after the end."""
        seen = list(map(int, self._seen))
        return {
            "failed_calls": self.failed,
            "missed": len(set(self._sent) - set(self._seen)),
            "doubled": len(seen) - len(set(seen)),
            "disordered": sum(later < earlier for earlier, later in itertools.pairwise(seen)),
        }


async def table(router: str) -> router_pb2.TableReply:
    """Ask a router for its table."""
    channel = open_channel(router)
    try:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        reply: router_pb2.TableReply = await call(stub.Table, router_pb2.TableRequest(), 1.0)
        return reply
    finally:
        await channel.close()


def complete(reply: router_pb2.TableReply, cluster: BenchCluster) -> bool:
    """Say whether all servers are there and none is in doubt."""
    well = (server_pb2.SERVER_STATE_AVAILABLE, server_pb2.SERVER_STATE_STANDBY)
    return sorted(server.vm for server in reply.servers if server.state in well) == sorted(cluster.servers)


async def settled(cluster: BenchCluster) -> str:
    """Wait until every pair stands and every router knows all servers; return the available VM."""
    for vm in cluster.servers:
        await asyncio.to_thread(cluster.wait_steady, vm, spare=True)
    while True:
        with suppress(SnsError):
            tables = [await table(router) for router in cluster.routers]
            if all(complete(reply, cluster) for reply in tables):
                await asyncio.sleep(SETTLE_S)
                return str(tables[0].available_vm)
        await asyncio.sleep(0.02)


def kill(cluster: BenchCluster, vm: str, holder: str) -> int:
    """SIGKILL a role; return who it was."""
    pid = cluster.pid(vm, holder)
    assert pid is not None, f"no {holder} of {vm} runs"
    os.kill(pid, signal.SIGKILL)
    return pid


async def gone(cluster: BenchCluster, vm: str, holder: str, pid: int) -> float:
    """Wait until the process is no more, so that nothing it still answered counts; return when."""
    while cluster.pid(vm, holder) == pid:
        await asyncio.sleep(0.0005)
    return time.monotonic()


# --- the cases ----------------------------------------------------------------------------------------------


def standby(n: int) -> Result:
    """Kill the available master."""

    async def run(cluster: BenchCluster) -> Result:
        result = Result()
        async with Load(cluster) as load:
            for _ in range(n):
                available = await settled(cluster)
                fault_s = time.monotonic()
                pid = kill(cluster, available, "master")
                gone_s = await gone(cluster, available, "master", pid)
                result.add("call", await load.first_after(gone_s) - fault_s)
        result.failures = load.failures()
        return result

    with BenchCluster(servers=2) as cluster:
        return asyncio.run(run(cluster))


def router_killed(n: int) -> Result:
    """Kill one of two routers, in turn; a new client names it first."""

    async def run(cluster: BenchCluster) -> Result:
        result, refused = Result(), 0
        async with Load(cluster) as load:
            for number in range(n):
                await settled(cluster)
                victim = number % 2
                kill(cluster, f"r{victim + 1}", "router")
                began_s = time.monotonic()
                routers = [cluster.routers[victim], cluster.routers[1 - victim]]
                client = Client(routers, f"visitor{number}")
                try:
                    await client.__aenter__()
                except SnsError:
                    refused += 1
                else:
                    result.add("connect", time.monotonic() - began_s)
                    await client.__aexit__(None, None, None)
            result.add("slowest_call", load.slowest_s)
        result.failures = load.failures() | {"failed_connects": refused}
        return result

    with BenchCluster(servers=2, routers=2) as cluster:
        return asyncio.run(run(cluster))


def router_restarted(n: int) -> Result:
    """Kill the only router."""

    async def run(cluster: BenchCluster) -> Result:
        result = Result()
        async with Load(cluster) as load:
            for _ in range(n):
                await settled(cluster)
                fault_s = time.monotonic()
                await gone(cluster, "r1", "router", kill(cluster, "r1", "router"))
                answered_s = 0.0
                while True:
                    with suppress(SnsError):
                        reply = await table(cluster.router)
                        answered_s = answered_s or time.monotonic()
                        if complete(reply, cluster):
                            break
                    await asyncio.sleep(0.002)
                result.add("away", answered_s - fault_s)
                result.add("table", time.monotonic() - answered_s)
            result.add("slowest_call", load.slowest_s)
        result.failures = load.failures()
        return result

    with BenchCluster(servers=2) as cluster:
        return asyncio.run(run(cluster))


def rolling_restart(n: int) -> Result:
    """Restart everything, one after the other."""

    async def run(cluster: BenchCluster) -> Result:
        result = Result()
        roles = [("router", f"r{index}") for index in range(1, len(cluster.routers) + 1)]
        roles += [(role, vm) for vm in cluster.servers for role in ("slave", "master")]
        async with Load(cluster) as load:
            for _ in range(n):
                for role, vm in roles:
                    await settled(cluster)
                    load.slowest_s = 0.0
                    began_s = time.monotonic()
                    await asyncio.to_thread(cluster.ctl, "restart", role, "--vm", vm)
                    result.add(f"restart_{role}", time.monotonic() - began_s)
                    await load.first_after(time.monotonic())
                    result.add("call", load.slowest_s)
        result.failures = load.failures()
        return result

    with BenchCluster(servers=2, routers=2) as cluster:
        return asyncio.run(run(cluster))


def crowd(n: int) -> Result:
    """Let everybody lose the same server."""

    async def run(cluster: BenchCluster, result: Result) -> None:
        available = await settled(cluster)
        began_s = time.monotonic()
        async with Crowd(cluster.routers, CROWD, CROWD_PROCESSES) as everybody:
            await everybody.entered(CROWD_WITHIN_S)
            result.add("entering", time.monotonic() - began_s)
            await asyncio.sleep(2 * SETTLE_S)
            seen = await everybody.lose(lambda: kill(cluster, available, "master"), CROWD_WITHIN_S)
            await everybody.left(CROWD_WITHIN_S)
        for name, times in (("served", seen.served_s), ("call", seen.called_s)):
            for seconds in times:
                result.add(name, seconds)
        for problem in seen.problems[:20]:
            print(problem, file=sys.stderr)
        counts = {
            "problems": len(seen.problems),
            "not_lost": CROWD - seen.lost,  # were elsewhere when the fault came: a busy machine moved them before
            "not_served": CROWD - len(seen.served_s),
            "connects": seen.asked,
            "connects_without_a_server": seen.refused,
        }
        for name, count in counts.items():
            result.failures[name] = result.failures.get(name, 0) + count

    result = Result()
    with descriptors():
        for _ in range(n):
            with BenchCluster(servers=2) as cluster:
                asyncio.run(run(cluster, result))
    return result


@contextmanager
def descriptors() -> Iterator[None]:
    """Let us, and what we start, open as many files as the system allows us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def vm_black_hole(n: int) -> Result:
    """Let the available server's VM vanish."""
    from network import vm_black_hole as measure

    measured = measure(n)
    return Result({"asked": measured.asked, "call": measured.client}, {"failed_calls": 0})


def slave_cut_off(n: int) -> Result:
    """Cut the slave's line to the router, both ways, for longer than a lease."""
    from tests.network.agent import Agent
    from tests.network.callers import Callers
    from tests.network.cluster import LEASE_S, joined
    from tests.network.scene import await_settled, both_ways, cut, vm_at, whole

    result = Result(failures={"restarts": 0, "failovers": 0, "failed_calls": 0})
    with joined("proxies") as cluster, Agent(cluster, "r1") as agent, Callers(cluster, every_s=0.05) as callers:
        for _ in range(n):
            chosen = await_settled(agent)
            before = whole(cluster)
            slave = f"{vm_at(cluster, callers.server())}/slave"
            with cut(cluster, *both_ways(slave, "r1")) as at_s:
                time.sleep(LEASE_S + 2.0)
            result.failures["restarts"] += whole(cluster) != before
            result.failures["failovers"] += await_settled(agent) != chosen or bool(callers.moves_after(at_s))
            result.add("slowest_call", callers.slowest_s(at_s))
        callers.finish()
    return result


CASES: dict[str, tuple[Callable[[int], Result], int]] = {
    "standby": (standby, 100),
    "router-killed": (router_killed, 100),
    "router-restarted": (router_restarted, 100),
    "rolling-restart": (rolling_restart, 3),
    "crowd": (crowd, 1),
    "vm-black-hole": (vm_black_hole, 100),
    "slave-cut-off": (slave_cut_off, 3),
}


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "cases", nargs="*", default=[], metavar="CASE", help=f"of {', '.join(CASES)}; default: all"
    )
    parser.add_argument("--n", type=int, default=None, help="faults in each case")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.cases) - set(CASES))
    if unknown:
        parser.error(f"there is no case {', '.join(unknown)}: choose of {', '.join(CASES)}")
    results: dict[str, dict[str, Any]] = {}
    for name in arguments.cases or CASES:
        measure, default = CASES[name]
        results[name] = measure(arguments.n or default).summary()
        if not arguments.json:
            print(_row(name, results[name]), flush=True)
    if arguments.json:
        print(json.dumps(results))


def _row(name: str, row: dict[str, Any]) -> str:
    cells = [f"{name:16}"]
    for key, value in row.items():
        if isinstance(value, dict):
            cells.append(f"{key} n={value['n']} {value['p50']}/{value['p99']}/{value['max']}")
        else:
            cells.append(f"{key}={value}")
    return "  ".join(cells)


if __name__ == "__main__":
    with exit_on_signals():  # what it started is ended, too
        main()
