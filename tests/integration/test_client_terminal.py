"""The terminal client as people and scripts meet it: real processes, a pipe, a pseudo-terminal."""

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from pexpect.fdpexpect import fdspawn

from snsnode.client import Client
from tests.client_rig import Cluster, running
from tests.ports import free_port

pytestmark = pytest.mark.integration

WITHIN_S = 10.0
COMMAND = [sys.executable, "-u", "-m", "tests.terminal_client"]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(tmp_path) as cluster:
        yield cluster


class Script:
    """A client whose standard input is a pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, username: str, *routers: str) -> "Script":
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                *COMMAND, username, *routers, stdin=pipe, stdout=pipe, stderr=pipe
            )
        )

    async def say(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        await self.process.stdin.drain()

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), WITHIN_S)).decode().rstrip("\n")

    async def end(self) -> tuple[list[str], str, int]:
        """Close the pipe; return the other lines, standard error and the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        out, error = await asyncio.wait_for(self.process.communicate(), WITHIN_S)
        assert self.process.returncode is not None
        return out.decode().splitlines(), error.decode(), self.process.returncode


async def test_piped_conversation(cluster: Cluster) -> None:
    async with Client(cluster.targets, "bob") as bob:
        alice = await Script.start("alice", *cluster.targets)
        await alice.say("list", "FOLLOW bob", "follow bob", "FOLLOW nobody", "folow bob", "FOLLOW", "")
        assert [await alice.line() for _ in range(3)] == [
            "All users: alice, bob",
            "Followers: (none)",
            "You follow bob now.",
        ]
        assert re.match("cannot follow 'bob': .* already", await alice.line())
        assert (await alice.line()).startswith("cannot follow 'nobody': ")
        assert await alice.line() == "there is no command 'folow': did you mean FOLLOW?"
        assert await alice.line() == "FOLLOW needs a user name: write FOLLOW name"
        await bob.post("one")
        await bob.post("two\n\x09three")
        await alice.say("timeline")
        assert re.fullmatch(r"bob \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\) >> two\\n\\tthree", await alice.line())
        assert (await alice.line()).endswith(" >> one")
        await bob.post("live")
        assert (await alice.line()).endswith(" >> live")
        await alice.say("LIST", "\x1b[2J", "/back", "UNFOLLOW bob")
        assert "control character" in await alice.line()
        assert await alice.line() == "You no longer follow bob."
        assert await alice.end() == ([], "", 1)  # some lines were refused
    async with Client(cluster.targets, "alice") as again:
        assert [post.text for post in await again.timeline().history()] == ["LIST"]


async def test_every_piped_post_is_acknowledged_before_the_end(cluster: Cluster) -> None:
    alice = await Script.start("alice", *cluster.targets)
    await alice.say("TIMELINE", *(f"post {number}" for number in range(200)))
    assert await alice.end() == ([], "", 0)
    async with Client(cluster.targets, "alice") as again:
        assert len(await again.timeline().history()) == 20


async def test_failover_is_announced_and_the_script_goes_on(cluster: Cluster) -> None:
    alice = await Script.start("alice", *cluster.targets)
    await alice.say("list")
    await alice.line()
    await alice.line()
    cluster.servers[0].kill()
    await alice.say("LIST")
    second = f"Reconnecting to 127.0.0.1:{cluster.servers[1].port}..."
    lines, error, code = await alice.end()
    assert second in lines
    assert lines[-2:] == ["All users: alice", "Followers: (none)"]
    assert (error, code) == ("", 0)


async def test_logins_that_cannot_be_say_why_and_exit(cluster: Cluster) -> None:
    async with Client(cluster.targets, "alice"):
        taken = await Script.start("alice", *cluster.targets)
        _, error, code = await taken.end()
        assert ("alice" in error, "Traceback" in error, code) == (True, False, 1)
    bad_name = await Script.start("al ice", *cluster.targets)
    _, error, code = await bad_name.end()
    assert ("user name" in error, "Traceback" in error, code) == (True, False, 2)
    bad_router = await Script.start("alice", "nowhere")
    _, error, code = await bad_router.end()
    assert ("host:port" in error, "Traceback" in error, code) == (True, False, 2)


async def test_search_for_a_server_is_announced_and_can_be_interrupted() -> None:
    target = f"127.0.0.1:{free_port()}"
    alice = await Script.start("alice", target)
    assert alice.process.stderr is not None
    line = await asyncio.wait_for(alice.process.stderr.readline(), WITHIN_S)
    assert line.decode() == f"Looking for a server; asked so far: {target} ...\n"
    alice.process.send_signal(signal.SIGINT)
    assert await alice.end() == ([], "", 130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_client_logs_out(cluster: Cluster, number: signal.Signals) -> None:
    alice = await Script.start("alice", *cluster.targets)
    await alice.say("list")
    await alice.line()
    alice.process.send_signal(number)
    _, error, code = await alice.end()
    assert (error, code) == ("", 128 + number)
    async with Client(cluster.targets, "alice"):
        pass


async def test_reader_that_left_is_no_traceback(cluster: Cluster) -> None:
    command = shlex.join([*COMMAND, "alice", *cluster.targets])
    process = await asyncio.create_subprocess_shell(
        f"yes HELP | head -2000 | {command} | head -1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert error == b""


async def test_input_from_a_file_without_a_last_newline_and_with_bad_bytes(
    cluster: Cluster, tmp_path: Path
) -> None:
    lines = tmp_path / "lines"
    lines.write_bytes(b"TIMELINE\r\nhello\r\n\xff\xfe\n" + b"x" * 200_000 + b"\nlast")
    with lines.open() as source:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "alice", *cluster.targets, stdin=source, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == 1
    refused = out.decode().splitlines()
    assert ["not valid Unicode" in refused[0], "more than 65536" in refused[1], len(refused)] == [True, True, 2]
    async with Client(cluster.targets, "alice") as alice:
        assert [post.text for post in await alice.timeline().history()] == ["last", "hello"]


async def test_pipes_that_do_not_block_and_are_slow_lose_no_line(cluster: Cluster) -> None:
    """As another program leaves them behind on a shared terminal, or an event loop on its own pipes."""
    ours, theirs = os.pipe()
    out, shown = os.pipe()
    for descriptor in (ours, shown):
        os.set_blocking(descriptor, False)
    process = await asyncio.create_subprocess_exec(*COMMAND, "alice", *cluster.targets, stdin=ours, stdout=shown)
    os.close(ours)
    os.close(shown)
    os.write(theirs, b"LIST\n")
    reader = os.fdopen(out, "rb")
    assert await asyncio.to_thread(reader.readline) == b"All users: alice\n"  # now it waits for more
    os.write(theirs, b"HELP\n" * 300 + b"TIMELINE\nlate\n")
    os.close(theirs)
    async with Client(cluster.targets, "bob") as bob:  # nobody reads the help meanwhile
        await bob.post("something")
    lines = (await asyncio.to_thread(reader.read)).splitlines()
    reader.close()
    assert lines.count(b"Followers: (none)") == 1
    assert sum(line.startswith(b"QUIT, Ctrl-D") for line in lines) == 300
    assert await asyncio.wait_for(process.wait(), WITHIN_S) == 0
    async with Client(cluster.targets, "alice") as alice:
        assert [post.text for post in await alice.timeline().history()] == ["late"]


async def test_closed_input_is_empty(cluster: Cluster) -> None:
    """Its number must not go to a socket, which would then be read."""
    process = await asyncio.create_subprocess_shell(
        f"{shlex.join([*COMMAND, 'alice', *cluster.targets])} <&-",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert await asyncio.wait_for(process.communicate(), WITHIN_S) == (b"", b"")
    assert process.returncode == 0


async def test_interactive_session(cluster: Cluster) -> None:
    async with Client(cluster.targets, "bob") as bob:
        await bob.post("before")
        talk = Terminal("alice", *cluster.targets)
        try:
            await talk.expect("Logged in as alice")
            await talk.expect("alice>")
            await talk.type("LIST\r")
            await talk.expect("All users: alice, bob")
            await talk.expect("alice>")
            await talk.type("FOLLOW")
            await talk.expect("FOLLOW")
            await talk.type(" ")
            await talk.expect("bob")  # the menu offers the known name
            await talk.type("bob\r")
            await talk.expect("You follow bob now")
            await talk.type("dance\r")
            await talk.expect("there is no command 'dance'")
            await talk.type("timeline\r")
            await talk.expect(r"alice \(timeline\)>")
            await bob.post("live")
            await talk.expect(r"bob \([-0-9]+ [:0-9]+\) >> live")
            await talk.type("hello from alice\r")
            cluster.servers[0].kill()
            await talk.expect(f"Reconnecting to 127.0.0.1:{cluster.servers[1].port}")
            await bob.post("after")
            await talk.expect(">> after")
            await talk.type("\x04")
            await talk.expect("alice>")
            await talk.type("\x04")
            await talk.expect(pexpect.EOF)
            assert await talk.exit_code() == 0
        finally:
            talk.kill()
    async with Client(cluster.targets, "alice") as alice:
        assert "hello from alice" in [post.text for post in await alice.timeline().history()]


async def test_ctrl_c_at_the_prompt_leaves_cleanly(cluster: Cluster) -> None:
    talk = Terminal("alice", *cluster.targets)
    try:
        await talk.expect("alice>")
        await talk.type("\x03")
        await talk.expect(pexpect.EOF)
        assert await talk.exit_code() == 0
        assert "Traceback" not in talk.seen
    finally:
        talk.kill()
    async with Client(cluster.targets, "alice"):
        pass


class Terminal:
    """A client on a pseudo-terminal; pexpect blocks, so each step runs in a thread.

    The process is no child of pexpect's own, which forks without exec; a test that uses gRPC must not.
    """

    def __init__(self, username: str, *routers: str) -> None:
        self._ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (40, 160))
        self._process = subprocess.Popen(
            [*COMMAND, username, *routers],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # Nobody here answers where the cursor is.
            env=os.environ | {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"},
        )
        os.close(theirs)
        self._screen: Any = fdspawn(self._ours, encoding="utf-8", timeout=WITHIN_S)
        self.seen = ""

    async def expect(self, pattern: Any) -> None:
        await asyncio.to_thread(self._screen.expect, pattern)
        self.seen += self._screen.before

    async def type(self, text: str) -> None:
        await asyncio.to_thread(self._screen.send, text)

    async def exit_code(self) -> int:
        return await asyncio.to_thread(self._process.wait, WITHIN_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(WITHIN_S)
        self._screen.close()
