"""A process that forks after it used a client: the child is told at once, and the parent's client goes on.

What forks is a process of its own: a test that uses gRPC must not.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client_rig import running

pytestmark = pytest.mark.integration

WITHIN_S = 30.0
ROUNDS = 25  # gRPC's own fork handlers killed one child in twenty

SCRIPT = """
import asyncio, multiprocessing, os, signal, sys, time
from snsnode.base.errors import NotAllowed
from snsnode.client import Client, SyncClient

targets = sys.argv[2:]

def forked(body, leave=os._exit):
    pid = os.fork()
    if pid == 0:
        body()
        leave(0)
    for _ in range(1000):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0, status
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise SystemExit("the child hangs")

def refused(call):
    try:
        call()
    except NotAllowed as error:
        assert "make clients after the fork" in error.message, error.message
    else:
        raise SystemExit("the child was not told")

def opens():
    refused(SyncClient(targets, "child").__enter__)
    refused(lambda: asyncio.run(Client(targets, "child").__aenter__()))

def sync_open():
    with SyncClient(targets, "anna") as anna:
        timeline = anna.timeline()
        timeline.history()
        forked(opens)
        def uses():
            for call in (lambda: anna.post("child"), anna.list, lambda: next(timeline), timeline.history):
                refused(call)
            timeline.close()
        forked(uses)
        forked(lambda: None, sys.exit)  # leaves the 'with': the login is the parent's
        for _ in range(ROUNDS):
            anna.post("busy")
            forked(lambda: refused(lambda: anna.post("child")))
        anna.post("still here")
    forked(opens)  # a client that was closed, too

def sync_closed():
    with SyncClient(targets, "anna"):
        pass
    forked(opens)
    forked(opens, sys.exit)

def never_used():
    def works():
        with SyncClient(targets, "child") as child:
            child.post("mine")
    forked(works)
    with SyncClient(targets, "anna") as anna:
        anna.post("mine")

def uses_async():
    async def main():
        async with Client(targets, "anna") as anna:
            timeline = anna.timeline()
            await timeline.history()
            process = multiprocessing.get_context("fork").Process(target=opens)
            process.start()
            await asyncio.to_thread(process.join, 10)
            assert process.exitcode == 0, process.exitcode
            def uses():
                for call in (lambda: anna.post("child"), anna.list, lambda: anext(timeline)):
                    refused(lambda: call().send(None))
            forked(uses)
            await anna.post("still here")
    asyncio.run(main())

ROUNDS = int(os.environ["ROUNDS"])
globals()[sys.argv[1]]()
print("done")
"""


@pytest.mark.parametrize("what", ["sync_open", "sync_closed", "never_used", "uses_async"])
async def test_child_of_a_fork_is_told_at_once_and_the_parent_goes_on(what: str, tmp_path: Path) -> None:
    # Not what this process set for itself: the child must do that.
    environment = {**os.environ, "ROUNDS": str(ROUNDS)}
    environment.pop("GRPC_ENABLE_FORK_SUPPORT", None)
    async with running(tmp_path, servers=1) as cluster:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SCRIPT, what, *cluster.targets],
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
            env=environment,
        )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stdout + done.stderr
