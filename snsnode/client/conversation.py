"""The conversation with a user: lines in, lines out. It does not know whether a person or a script talks."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from snsnode.base.errors import SnsError
from snsnode.base.harmless import harmless
from snsnode.client.client import Client
from snsnode.client.commands import HELP, Command, Verb, parse, parse_timeline
from snsnode.client.display import names, post_line
from snsnode.client.events import Event, Reconnecting
from snsnode.client.timeline import Timeline

Show = Callable[[str], None]


def show_event(show: Show, event: Event) -> None:
    """Tell the user that the client turns to another server; that it arrived shows by itself."""
    if isinstance(event, Reconnecting):
        show(f"Reconnecting to {event.host}:{event.port}...")


class Conversation:
    """One user's commands, one at a time; ``show`` gets each line of output without its end.

    ``known`` are the user names met so far. The caller owns ``client``, and calls ``back`` at the end.
    """

    def __init__(self, client: Client, show: Show) -> None:
        self._client = client
        self._show = show
        self._timeline: Timeline | None = None
        self._live: asyncio.Task[None] | None = None
        self.known: set[str] = set()
        self.failed = False  # a line was refused, or could not be done

    @property
    def in_timeline(self) -> bool:
        """Whether lines are posts."""
        return self._timeline is not None

    async def take(self, line: str) -> bool:
        """Do what ``line`` says; return False when the user leaves. What is refused is shown.

        Raises:
            OSError: nobody reads what is shown.
        """
        if self._live is not None and self._live.done():
            self._live.result()
        try:
            command = parse_timeline(line) if self.in_timeline else parse(line)
            return command is None or await self._do(command)
        except SnsError as error:
            self.refuse(error)
            return True

    def refuse(self, error: SnsError) -> None:
        """Show why a line was not done."""
        self.failed = True
        self._show(harmless(error.message))

    async def back(self) -> None:
        """Leave the timeline, if it is open."""
        timeline, self._timeline = self._timeline, None
        live, self._live = self._live, None
        if live is not None:
            live.cancel()
            await asyncio.wait((live,))
        if timeline is not None:
            await timeline.aclose()

    async def _do(self, command: Command) -> bool:
        match command.verb:
            case Verb.QUIT:
                return False
            case Verb.HELP:
                self._show(HELP)
            case Verb.LIST:
                await self._list()
            case Verb.FOLLOW:
                await self._client.follow(command.argument)
                self._show(f"You follow {command.argument} now.")
            case Verb.UNFOLLOW:
                await self._client.unfollow(command.argument)
                self._show(f"You no longer follow {command.argument}.")
            case Verb.TIMELINE:
                await self._enter()
            case Verb.BACK:
                await self.back()
            case Verb.POST:
                await self._client.post(command.argument)
        return True

    async def _list(self) -> None:
        users, followers = await self._client.list()
        self.known.update(users)
        self._show(names("All users", users))
        self._show(names("Followers", followers))

    async def _enter(self) -> None:
        timeline = self._client.timeline()
        for post in await timeline.history():
            self.known.add(post.username)
            self._show(post_line(post))
        self._timeline = timeline
        self._live = asyncio.create_task(self._show_live(timeline), name="show-timeline")

    async def _show_live(self, timeline: Timeline) -> None:
        try:
            async for post in timeline:
                self.known.add(post.username)
                self._show(post_line(post))
        except SnsError as error:
            self.failed = True
            self._show(f"The timeline has ended: {harmless(error.message)}. Type TIMELINE to enter it again.")
        # Ended by itself, not by the user: the next line is a command, not a post into the void.
        if self._timeline is timeline:
            self._timeline = None
            self._live = None


async def learn_names(client: Client, known: set[str]) -> None:
    """Fill ``known`` for completion; without an answer there is just less to complete."""
    with suppress(SnsError):
        users, _ = await client.list()
        known.update(users)
