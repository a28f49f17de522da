"""What a master serves, beside an empty gRPC server: python bench/throughput.py [--json] [--rounds N].

Unary List and acknowledged posts through the real master process of a running cluster (SQLite store, slave, spare
and router beside it), each as a ratio to a bare grpc.aio server whose handler returns an empty reply: the same
clients, channels and calls in flight, in turn within one run, the median of all rounds. And the time from a post's
call to a follower's timeline, on the same master and on another one over the same file; beside it an empty call's,
one every few milliseconds as the posts are, which is mostly the time to wake who sleeps. Compare ratios of
one run; clients and servers share the cores.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from cluster import BenchCluster
from figures import Targets, show

from snsnode.base.ids import new_request_id
from snsnode.base.signals import exit_on_signals
from snsnode.rpc import social_pb2 as pb
from snsnode.rpc import social_pb2_grpc
from snsnode.transport.channels import open_channel
from snsnode.transport.servers import SERVER_OPTIONS

CLIENTS = 2  # processes, each with one channel
IN_FLIGHT = 16  # calls of each process
USERS = 20
PUSHES = 400
WARM_UP_S = 0.3
TEXT = "x" * 60
START_S = 30.0

TARGETS: Targets = {
    "list_to_echo": (">=", 0.6),
    "posts_to_echo": (">=", 0.4),
    "push_same_master_p50_ms": ("<=", 3.0),
    "push_other_master_p50_ms": ("<=", 6.0),
}


def main() -> None:
    """Measure and print; exit code 1 where a target is missed. The hidden modes are its own child processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=7, help="echo, List and posts in turn, so often (default 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each (default 2)")
    parser.add_argument(
        "--uvloop", action="store_true", help="an empty server under uvloop, too (pip install uvloop)"
    )
    parser.add_argument("--echo", help=argparse.SUPPRESS)
    parser.add_argument("--calls", nargs=2, metavar=("KIND", "TARGET"), help=argparse.SUPPRESS)
    parser.add_argument("--user", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.echo and arguments.uvloop:
        import uvloop

        uvloop.run(serve_echo(arguments.echo))
    elif arguments.echo:
        asyncio.run(serve_echo(arguments.echo))
    elif arguments.calls:
        kind, target = arguments.calls
        asyncio.run(call_on_command(kind, target, arguments.user))
    else:
        figures = measure(arguments.rounds, arguments.seconds, arguments.uvloop)
        sys.exit(show(figures, TARGETS, as_json=arguments.json))


def measure(rounds: int, seconds: float, with_uvloop: bool) -> dict[str, Any]:
    """Return every figure by name; the unit stands last in the name, a ratio has none."""
    load_before = os.getloadavg()[0]
    with BenchCluster(servers=2) as cluster, Echo() as echo, ExitStack() as running:
        masters = [cluster.address(vm) for vm in cluster.servers]
        asyncio.run(people(masters[0]))
        master = cluster.pid(cluster.servers[0], "master")
        assert master is not None
        servers = {"echo": Served(echo.target, echo.pid)}
        servers |= dict.fromkeys(("list", "post"), Served(masters[0], master))
        if with_uvloop:
            other = running.enter_context(Echo("--uvloop"))
            servers["echo_uvloop"] = Served(other.target, other.pid)
        figures = rates(servers, rounds, seconds)
        figures["echo_paced_p50_ms"] = asyncio.run(paced_echo(echo.target))
        figures |= asyncio.run(pushes(masters[0], masters[0], "same_master"))
        figures |= asyncio.run(pushes(masters[0], masters[1], "other_master"))
    return {**figures, "load_before": load_before, "cores": os.cpu_count()}


# --- rates ----------------------------------------------------------------------------------------------------


class Served(NamedTuple):
    """Where a server listens, and its process."""

    target: str
    pid: int

    def used_s(self) -> float:
        """Return the processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rates(servers: dict[str, Served], rounds: int, seconds: float) -> dict[str, Any]:
    """Return calls per second and processor time a call of each kind, and the medians of the rates' ratios."""
    teams = {kind: Team(kind.removesuffix("_uvloop"), at) for kind, at in servers.items()}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in teams}
    try:
        for _ in range(rounds):
            for kind, team in teams.items():
                found[kind].append(team.rate(seconds))
    finally:
        for team in teams.values():
            team.end()
    figures: dict[str, Any] = {}
    names = {"echo": "echo", "list": "list", "post": "posts", "echo_uvloop": "echo_uvloop"}
    for kind, name in ((kind, names[kind]) for kind in teams):
        figures[f"{name}_per_s"] = statistics.median(rate for rate, _ in found[kind])
        figures[f"{name}_server_cpu_us"] = statistics.median(used_us for _, used_us in found[kind])
    for kind, name in ((kind, names[kind]) for kind in teams if kind != "echo"):
        pairs = zip(found[kind], found["echo"], strict=True)
        figures[f"{name}_to_echo"] = statistics.median(rate / echo_rate for (rate, _), (echo_rate, _) in pairs)
    return figures


class Team:
    """Client processes that call when they are told."""

    def __init__(self, kind: str, server: Served) -> None:
        self._server = server
        self._processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--calls", kind, server.target, "--user", f"{kind}er{number}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(CLIENTS)
        ]
        for process in self._processes:
            _line(process)

    def rate(self, seconds: float) -> tuple[float, float]:
        """Return how many calls per second all of them had answered, and what one cost the server, in us."""
        before_s = self._server.used_s()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        answers = [_line(process).split() for process in self._processes]
        calls = sum(int(calls) for calls, _ in answers)
        used_us = (self._server.used_s() - before_s) * 1e6 / calls
        return sum(float(rate) for _, rate in answers), used_us

    def end(self) -> None:
        """Let them go."""
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.communicate("", timeout=START_S)
            process.kill()


async def call_on_command(kind: str, target: str, user: str) -> None:
    """Read how many seconds to call for, a line each, and print the calls per second."""
    channel = open_channel(target)
    stub: Any = social_pb2_grpc.SNSServiceStub(channel)
    caller = pb.Caller(username=user, client_id=f"client-of-{user}")
    keep: asyncio.Task[None] | None = None
    if kind != "echo":
        await stub.Login(pb.LoginRequest(caller=caller), timeout=START_S)
        keep = asyncio.create_task(_stay(stub, caller))
    call = _call(kind, stub, caller)
    await call()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        warm_up, _ = await answered(call, WARM_UP_S)
        calls, rate = await answered(call, float(line))
        print(warm_up + calls, rate, flush=True)
    if keep is not None:
        keep.cancel()
    await channel.close()


def _call(kind: str, stub: Any, caller: pb.Caller) -> Callable[[], Awaitable[object]]:
    if kind == "list":
        return lambda: stub.List(pb.ListRequest(caller=caller), timeout=START_S)
    # Echo gets what a post does: the same bytes travel.
    return lambda: stub.Post(
        pb.PostRequest(caller=caller, request_id=new_request_id(), text=TEXT), timeout=START_S
    )


async def _stay(stub: Any, caller: pb.Caller) -> None:
    async for _ in stub.Session(pb.SessionRequest(caller=caller)):
        pass


async def answered(call: Callable[[], Awaitable[object]], seconds: float) -> tuple[int, float]:
    """Return the calls that were answered to ``IN_FLIGHT`` callers, and the calls per second."""
    start_s = time.perf_counter()
    end_s, calls = start_s + seconds, 0

    async def repeat() -> None:
        nonlocal calls
        while time.perf_counter() < end_s:
            await call()
            calls += 1

    await asyncio.gather(*(repeat() for _ in range(IN_FLIGHT)))
    return calls, calls / (time.perf_counter() - start_s)


class Echo:
    """The bare server, in a process of its own; a context manager."""

    def __init__(self, *more: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--echo", "127.0.0.1:0", *more], stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self.target = f"127.0.0.1:{_line(self._process)}"

    def __enter__(self) -> "Echo":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()


class _Nothing(social_pb2_grpc.SNSServiceServicer):
    async def Post(self, request: pb.PostRequest, context: Any) -> pb.PostReply:  # noqa: N802
        return pb.PostReply()


async def serve_echo(target: str) -> None:
    """Serve empty replies until killed; print the port. What the transport is told is the same as in a master."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    social_pb2_grpc.add_SNSServiceServicer_to_server(_Nothing(), server)  # type: ignore[abstract]
    port = server.add_insecure_port(target)
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise SystemExit("a process of the measurement ended early")
    return line


# --- pushes ---------------------------------------------------------------------------------------------------


async def people(master: str) -> None:
    """Make the users that List shows."""
    async with open_channel(master) as channel:
        stub: Any = social_pb2_grpc.SNSServiceStub(channel)
        for number in range(USERS):
            caller = pb.Caller(username=f"user{number}", client_id=f"client{number}")
            await stub.Login(pb.LoginRequest(caller=caller), timeout=START_S)
            await stub.Logout(pb.LogoutRequest(caller=caller), timeout=START_S)


def pause_s(number: int) -> float:
    """Return how long to wait before the next call: no beat with anything that ticks."""
    return 0.003 + 0.0001 * (number % 70)


async def paced_echo(target: str) -> float:
    """Return the median time of an empty call that is made now and then, in milliseconds."""
    async with open_channel(target) as channel:
        stub: Any = social_pb2_grpc.SNSServiceStub(channel)
        call = _call("echo", stub, pb.Caller(username="echo", client_id="echo"))
        took: list[float] = []
        for number in range(PUSHES):
            called_s = time.perf_counter()
            await call()
            took.append((time.perf_counter() - called_s) * 1000)
            await asyncio.sleep(pause_s(number))
    return statistics.median(took)


async def pushes(posts_at: str, reads_at: str, name: str) -> dict[str, float]:
    """Return how long a post takes to a follower's open timeline, from the call and from its acknowledgement."""
    async with open_channel(posts_at) as one, open_channel(reads_at) as other:
        author: Any = social_pb2_grpc.SNSServiceStub(one)
        reader: Any = social_pb2_grpc.SNSServiceStub(other)
        writes = pb.Caller(username=f"author-{name}", client_id="author")
        reads = pb.Caller(username=f"reader-{name}", client_id="reader")
        await author.Login(pb.LoginRequest(caller=writes), timeout=START_S)
        await reader.Login(pb.LoginRequest(caller=reads), timeout=START_S)
        follow = pb.FollowRequest(caller=reads, username=writes.username, request_id=new_request_id())
        await reader.Follow(follow, timeout=START_S)
        timeline = reader.Timeline()
        await timeline.write(pb.TimelineRequest(enter=pb.TimelineRequest.Enter(caller=reads)))
        while (await timeline.read()).WhichOneof("kind") != "entered":
            pass
        arrived: dict[str, asyncio.Future[float]] = {}
        listening = asyncio.create_task(_arrivals(timeline, arrived))
        from_call, from_ack = [], []
        for number in range(PUSHES):
            text = f"push {number}"
            arrived[text] = asyncio.get_running_loop().create_future()
            called_s = time.perf_counter()
            await author.Post(
                pb.PostRequest(caller=writes, request_id=new_request_id(), text=text), timeout=START_S
            )
            acknowledged_s = time.perf_counter()
            arrived_s = await asyncio.wait_for(arrived[text], START_S)
            from_call.append((arrived_s - called_s) * 1000)
            from_ack.append(max(0.0, arrived_s - acknowledged_s) * 1000)
            await asyncio.sleep(pause_s(number))
        listening.cancel()
        timeline.cancel()
    return {
        f"push_{name}_p50_ms": statistics.median(from_call),
        f"push_{name}_p99_ms": statistics.quantiles(from_call, n=100)[98],
        f"push_{name}_after_ack_p50_ms": statistics.median(from_ack),
    }


async def _arrivals(timeline: Any, arrived: dict[str, asyncio.Future[float]]) -> None:
    while True:
        reply = await timeline.read()
        if reply.WhichOneof("kind") == "live":
            arrived[reply.live.text].set_result(time.perf_counter())


if __name__ == "__main__":
    with exit_on_signals():  # what it started is ended, too
        main()
