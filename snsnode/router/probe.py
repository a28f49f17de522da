"""The router's own look at a server that somebody could not reach.

Called by ``service``. A watcher that came late itself says nothing of whom it watched: on a machine without a free
core the answer may be there already, and only we were not.
"""

import time
from collections.abc import Awaitable, Callable

from snsnode.node.shortage import lacks_descriptors
from snsnode.transport.health import is_serving

LATE_S = 0.1  # a time-out that comes so late after its time tells of us, not of the server
LOOKS_MAX = 3  # then the server has the benefit of the doubt: whoever cannot reach it asks again within a second

Ask = Callable[[str, float], Awaitable[bool]]


async def answers(target: str, within_s: float, ask: Ask = is_serving) -> bool:
    """Ask ``target`` whether it serves, within a time; ask again where we ourselves were late."""
    for _ in range(LOOKS_MAX):
        asked_s = time.monotonic()
        if await ask(target, within_s):
            return True
        if lacks_descriptors():
            return True  # we could not ask, and know nothing
        if time.monotonic() - asked_s <= within_s + LATE_S:
            return False
    return True
