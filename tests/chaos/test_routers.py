"""Row 8, the pair's side: a router that forgets is told again at once; one that is away disturbs nobody."""

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from snsnode.client import Client
from snsnode.node import budget
from snsnode.node.lock import live_holder
from snsnode.node.process import send_signal
from snsnode.observe.journal import read
from snsnode.rpc import router_pb2, router_pb2_grpc, server_pb2
from snsnode.transport.channels import CHANNEL_OPTIONS
from tests.chaos import scene
from tests.chaos.hooks import DEADLOCK, WEDGE, Hooks
from tests.chaos.workload import calling
from tests.cluster import Cluster, running
from tests.eventually import eventually

pytestmark = pytest.mark.chaos

KNOWN_WITHIN_MS = 1000  # by the router's own clock, from its first answer: how busy we are does not count
ASKED_EVERY_S = 0.02
AWAY_S = 4.0  # four times the silence


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(servers=2) as started:
        yield started


def told(cluster: Cluster, vm: str = "vm1") -> router_pb2.TableReply | None:
    """Return the router's table, None where it does not answer."""
    with grpc.insecure_channel(f"127.0.0.1:{cluster.ports[vm]}", options=CHANNEL_OPTIONS) as channel:
        stub: Any = router_pb2_grpc.RouterStub(channel)
        try:
            reply: router_pb2.TableReply = stub.Table(router_pb2.TableRequest(), timeout=0.5)
            return reply
        except grpc.RpcError:
            return None


def known(cluster: Cluster) -> set[str] | None:
    """Return the servers that the router knows, None where it does not answer."""
    reply = told(cluster)
    return {server.vm for server in reply.servers} if reply is not None else None


def words(reply: router_pb2.TableReply) -> tuple[str, dict[str, tuple[int, int]]]:
    """Return what must be as before: the choice, and each server's epoch and state."""
    return reply.available_vm, {server.vm: (server.epoch, server.state) for server in reply.servers}


def answers_of_successor(cluster: Cluster, vm: str) -> list[router_pb2.TableReply]:
    """Kill the router of ``vm`` and return all answers of its successor, from the first to beyond the bound."""
    [dead] = cluster.kill(vm, "router")
    cluster.await_role(vm, "router", scene.BACK_WITHIN_S, other_than=dead.pid)
    answers: list[router_pb2.TableReply] = []

    def asked_for_long_enough() -> bool:
        reply = told(cluster, vm)
        if reply is not None:
            answers.append(reply)
        return bool(answers) and answers[-1].uptime_ms > answers[0].uptime_ms + 2 * KNOWN_WITHIN_MS

    eventually(asked_for_long_enough, scene.BACK_WITHIN_S, every_s=ASKED_EVERY_S)
    return answers


def in_time(answers: list[router_pb2.TableReply]) -> list[router_pb2.TableReply]:
    """Return the answers that came so late after the first that they must be complete."""
    late = [reply for reply in answers if reply.uptime_ms >= answers[0].uptime_ms + KNOWN_WITHIN_MS]
    assert late
    return late


def test_router_that_was_killed_knows_all_servers_within_a_second_of_its_first_answer(cluster: Cluster) -> None:
    # Make the choice one that a router which forgot would not make: not the first that registered.
    available = cluster.await_available()
    [other] = set(cluster.server_vms) - {available}
    cluster.ctl("switchover", other)
    whole = {vm: scene.pids(cluster, vm) for vm in cluster.server_vms}
    before = told(cluster)
    assert before is not None and before.available_vm == other
    answers = answers_of_successor(cluster, "vm1")
    doubts = (server_pb2.SERVER_STATE_SUSPECT, server_pb2.SERVER_STATE_DOWN)
    assert not [reply for reply in answers for server in reply.servers if server.state in doubts]
    assert all(words(reply) == words(before) for reply in in_time(answers))
    assert {vm: scene.pids(cluster, vm) for vm in cluster.server_vms} == whole


def test_only_router_killed_under_load_fails_no_call() -> None:
    """Whom the successor offers is not asked here: it may doubt a server that is slow on a busy machine."""
    with running(servers=2) as cluster:
        cluster.await_available()

        def act() -> None:
            answers = answers_of_successor(cluster, "vm1")
            everybody = dict.fromkeys(cluster.server_vms, 1)  # nobody was restarted
            for reply in in_time(answers):
                assert {server.vm: server.epoch for server in reply.servers} == everybody

        calling(cluster, act)


def test_router_that_begins_beside_another_knows_every_live_server_and_nothing_on_hearsay() -> None:
    """An epoch that it never heard of counts once the server itself has confirmed it, and a dead one cannot."""
    with running(servers=2, routers=2) as cluster:
        dead = cluster.await_available()
        cluster.ctl("pause", dead)
        cluster.kill(dead, "master")  # its slave reports it, and brings nobody back

        def is_known() -> bool:
            reply = told(cluster)
            assert reply is not None
            return [s.vm for s in reply.servers if s.state == server_pb2.SERVER_STATE_DOWN] == [dead]

        eventually(is_known, scene.BACK_WITHIN_S)
        beginner = cluster.router_vms[1]
        before = told(cluster)
        assert before is not None
        live = [server for server in before.servers if server.vm != dead]
        answers = answers_of_successor(cluster, beginner)
        for reply in in_time(answers):
            assert reply.available_vm == before.available_vm
            assert [(s.vm, s.epoch, s.state) for s in reply.servers] == [(s.vm, s.epoch, s.state) for s in live]


@pytest.mark.parametrize("how", ["frozen", pytest.param("stopped", marks=pytest.mark.chaos_long)])
def test_router_that_is_away_disturbs_no_pair_and_no_client(cluster: Cluster, how: str) -> None:
    whole = {vm: scene.pids(cluster, vm) for vm in cluster.server_vms}

    def leave() -> Any:
        return (
            cluster.signal("vm1", "router", signal.SIGSTOP) if how == "frozen" else cluster.ctl("stop", "router")
        )

    def come_back(left: Any) -> None:
        if how == "frozen":
            send_signal(left, signal.SIGCONT)
        else:
            cluster.ctl("start", "router")

    async def use() -> None:
        async with Client([f"127.0.0.1:{cluster.ports['vm1']}"], username=f"user-{how}") as client:
            await client.post("before")
            left = await asyncio.to_thread(leave)
            try:
                until_s = time.monotonic() + AWAY_S
                while time.monotonic() < until_s:
                    await client.post("meanwhile")
                    assert {vm: scene.pids(cluster, vm) for vm in cluster.server_vms} == whole
                    await asyncio.sleep(0.1)
            finally:
                await asyncio.to_thread(come_back, left)
            await client.post("after")

    asyncio.run(use())
    eventually(lambda: known(cluster) == set(cluster.server_vms), 10)
    assert {vm: scene.pids(cluster, vm) for vm in cluster.server_vms} == whole


@pytest.fixture(scope="module")
def hooked() -> Iterator[Cluster]:
    with running(servers=1, start=False) as generated:
        Hooks(generated)
        generated.start()
        yield generated


HANGS = [
    pytest.param(signal.SIGSTOP, id="frozen"),
    pytest.param(DEADLOCK, id="deadlocked"),
    pytest.param(WEDGE, id="wedged", marks=pytest.mark.chaos_long),
]


@pytest.mark.parametrize("how", HANGS)
def test_router_that_hangs_is_replaced_and_status_tells_the_truth(hooked: Cluster, how: signal.Signals) -> None:
    """The pair and its budget are left alone; every pid that is shown is the one that has the role."""
    [pair_vm] = hooked.server_vms
    whole = scene.pids(hooked, pair_vm)
    spent = budget.read(hooked.vm_dir(pair_vm)).totals
    hung = hooked.signal("vm1", "router", how)
    assert shown_pid(hooked) == hung.pid
    hooked.await_role("vm1", "router", scene.BACK_WITHIN_S, other_than=hung.pid)
    scene.await_dead(hung)
    eventually(lambda: known(hooked) == set(hooked.server_vms), scene.BACK_WITHIN_S)
    holder = live_holder(hooked.vm_dir("vm1"), "router")
    assert holder is not None and shown_pid(hooked) == holder.identity.pid
    assert scene.pids(hooked, pair_vm) == whole
    assert budget.read(hooked.vm_dir(pair_vm)).totals == spent
    downs = [entry for entry in read(hooked.vm_dir("vm1").journal) if entry.event == "router-down"]
    assert (downs[-1].role, downs[-1].fields["partner_pid"]) == ("supervisord", hung.pid)


def shown_pid(cluster: Cluster) -> int:
    """Return the router's pid by a stock ``supervisorctl status``, once that says RUNNING."""
    words: list[str] = []

    def runs() -> bool:
        words[:] = cluster.supervisorctl("vm1", "status", "router", code=None).stdout.split()
        return words[1:3] == ["RUNNING", "pid"]

    eventually(runs, scene.BACK_WITHIN_S)
    return int(words[3].rstrip(","))
