"""A client in a process of its own, run by the Python of whichever version is its own: only the public library.

``python -P caller.py post USER TARGET…`` logs in, says so, and posts from the first line of its input to the end
of it. ``… read USER TARGET… -- AUTHOR…`` follows the authors and reads its timeline. Each line of output is JSON.
"""

import asyncio
import json
import sys
import time

from snsnode import __version__
from snsnode.client import Client

POST_EVERY_S = 0.05
CALL_WITHIN_S = 60.0


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


async def post(client: Client) -> None:
    await line()
    end = asyncio.create_task(line())
    number = 0
    while not end.done():
        text = f"{client.username}-{number}"
        number += 1
        before_s = time.monotonic()
        try:
            await client.post(text)
        except Exception as error:  # noqa: BLE001 - the older version's own classes
            say(problem=f"post {text}: {type(error).__name__}: {error}")
        else:
            say(acknowledged=text, took_s=time.monotonic() - before_s)
        await asyncio.wait((end,), timeout=POST_EVERY_S)


async def read(client: Client, authors: list[str]) -> None:
    for author in authors:
        await client.follow(author)
    timeline = client.timeline()
    if await timeline.history():
        say(problem="the timeline of a new user is not empty")
    say(entered=True)

    async def follow() -> None:
        async for each in timeline:
            say(seen=each.text)

    reading = asyncio.create_task(follow())
    await line()
    reading.cancel()
    await asyncio.wait((reading,))


async def main() -> None:
    kind, user, *rest = sys.argv[1:]
    targets = rest[: rest.index("--")] if "--" in rest else rest
    async with Client(targets, username=user, deadline_s=CALL_WITHIN_S) as client:
        say(version=__version__)
        if kind == "post":
            await post(client)
        else:
            await read(client, rest[rest.index("--") + 1 :])
    say(left=True)


if __name__ == "__main__":
    asyncio.run(main())
