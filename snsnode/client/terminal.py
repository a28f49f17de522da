"""The terminal client: a prompt for people, plain lines for scripts.

Called by ``cli`` through ``run``. Imported lazily: prompt_toolkit takes longer to load than all the rest.
"""

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from snsnode.base.errors import InvalidInput, SnsError, UsageError
from snsnode.base.harmless import harmless
from snsnode.client import stdin
from snsnode.client.client import DEADLINE_S, Client
from snsnode.client.conversation import Conversation, learn_names, show_event

PATIENCE_S = 2.0  # after so long without a login the user is told that the search goes on
LINES_AHEAD = 100  # read from a pipe before they are worked off

_STDIN, _STDOUT = 0, 1
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run(routers: Sequence[str], username: str, deadline_s: float = DEADLINE_S) -> int:
    """Run the client on standard input and output until the user leaves; return the exit code.

    Raises:
        UsageError: the name or a router's address is malformed.
        SnsError: the login was refused, or nobody answered.
    """
    stdin.hold()  # snsctl has done so already; another caller may not
    try:
        return asyncio.run(_run(routers, username, deadline_s))
    except BrokenPipeError:
        # Who read our output has left. Python would complain once more while it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
        return 1


async def _run(routers: Sequence[str], username: str, deadline_s: float) -> int:
    try:
        client = Client(routers, username, deadline_s=deadline_s, on_event=partial(show_event, _show))
    except InvalidInput as error:
        raise UsageError(error.message) from None
    caught: list[signal.Signals] = []
    talk = asyncio.create_task(_talk(client, routers), name="conversation")
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, _stop, talk, caught, number)
    try:
        return await talk
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]


def _stop(talk: asyncio.Task[int], caught: list[signal.Signals], number: signal.Signals) -> None:
    caught.append(number)
    talk.cancel()


async def _talk(client: Client, routers: Sequence[str]) -> int:
    waiting = harmless(f"Looking for a server; asked so far: {', '.join(routers)} ...")
    patience = asyncio.get_running_loop().call_later(PATIENCE_S, partial(print, waiting, file=sys.stderr))
    try:
        async with client:
            patience.cancel()
            conversation = Conversation(client, _show)
            try:
                if os.isatty(_STDIN) and os.isatty(_STDOUT):
                    await _converse(client, conversation)
                    return 0
                return await _read_pipe(conversation)
            finally:
                await conversation.back()
    finally:
        patience.cancel()


def _show(line: str) -> None:
    """Show a line, whole: the one exit of what others wrote, so that none of it can steer the terminal."""
    text = harmless(line, keep="\n\t") + "\n"
    if sys.stdout is not sys.__stdout__:  # the prompt's, which writes above it
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    if sys.stdout is None:  # closed
        return
    rest = text.encode(sys.stdout.encoding, sys.stdout.errors or "strict")
    while rest:
        try:
            rest = rest[os.write(_STDOUT, rest) :]
        except BlockingIOError:  # nobody reads it just now
            select.select((), (_STDOUT,), ())


# --- scripts ------------------------------------------------------------------------------------------------


async def _read_pipe(conversation: Conversation) -> int:
    """Take lines from standard input one after the other; 0 where every one was done."""
    async for line in _lines():
        if isinstance(line, SnsError):
            conversation.refuse(line)
        elif not await conversation.take(line):
            break
    return int(conversation.failed)


async def _lines() -> AsyncIterator[str | SnsError]:
    """Yield the lines of standard input, and what is wrong with those that cannot be taken.

    A thread reads it. It cannot be interrupted while it waits, so it is a daemon.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | SnsError | None] = asyncio.Queue()
    room = threading.Semaphore(LINES_AHEAD)  # what bounds the queue

    def read() -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody wants more
            try:
                for line in stdin.lines():
                    room.acquire()
                    loop.call_soon_threadsafe(lines.put_nowait, line)
            except stdin.Unreadable as error:
                loop.call_soon_threadsafe(lines.put_nowait, error)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while (line := await lines.get()) is not None:
        room.release()
        yield line


# --- people -------------------------------------------------------------------------------------------------


async def _converse(client: Client, conversation: Conversation) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory
    from prompt_toolkit.patch_stdout import patch_stdout

    from snsnode.client.completion import CommandCompleter

    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory(), completer=CommandCompleter(conversation)
    )
    learning = asyncio.create_task(learn_names(client, conversation.known), name="learn-names")
    try:
        with patch_stdout():
            _show(f"Logged in as {client.username}. HELP lists the commands, QUIT leaves.")
            while await _turn(session.prompt_async, client.username, conversation):
                pass
    finally:
        learning.cancel()
        await asyncio.wait((learning,))


async def _turn(
    prompt: Callable[[Callable[[], str]], Coroutine[Any, Any, str]], username: str, conversation: Conversation
) -> bool:
    """Ask for one line and do what it says; return False when the user leaves."""
    try:
        # A function, because the timeline may end while the prompt stands there.
        line = await prompt(lambda: f"{username} (timeline)> " if conversation.in_timeline else f"{username}> ")
    except KeyboardInterrupt:
        return False
    except EOFError:
        if not conversation.in_timeline:
            return False
        await conversation.back()
        return True
    return await conversation.take(line)
