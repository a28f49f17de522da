"""A process that posts: ``python -m tests.conformance.writer URL HOME USERNAME POSTS``.

Prints a line ``POST_ID TEXT`` for each post only after it was acknowledged; each text is its request id.
"""

import asyncio
import sys
from pathlib import Path

from snsnode.base.ids import ClientId, RequestId, UserName
from snsnode.store.engines import open_store
from snsnode.store.protocol import Login, Store

CALLERS = 8


async def post_all(url: str, home: Path, username: UserName, posts: int) -> None:
    store = await open_store(url, home)
    await store.login(Login(username, ClientId("client")), lease_s=60)
    async with asyncio.TaskGroup() as callers:
        for caller in range(CALLERS):
            callers.create_task(_post(store, username, range(caller, posts, CALLERS)), name=f"caller-{caller}")
    await store.close()


async def _post(store: Store, username: UserName, numbers: range) -> None:
    for number in numbers:
        text = f"{username}-{number}"
        posted = await store.post(username, RequestId(text), text)
        sys.stdout.write(f"{posted.post_id} {text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(post_all(sys.argv[1], Path(sys.argv[2]), UserName(sys.argv[3]), int(sys.argv[4])))
