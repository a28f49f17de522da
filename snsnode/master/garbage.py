"""When a master collects garbage: not while many clients come.

Each client is some two hundred objects that live long. As they come, Python looks through all of them again and
again for cycles, and serves nobody meanwhile: with 2,000 clients on a busy machine pauses of up to 0.37 s were
seen, and a router's probe waits 0.3 s. What this gains on an idle machine has not been measured.

What has lived for a moment is set aside (``gc.freeze``): it is still freed when its last reference goes; only
cycles among it wait for the rare full collection. That one looks at everything, and holds heartbeats too: with
10,000 clients 866,000 objects took 0.66 to 0.87 s (``bench/garbage.py``, two busy cores). So it waits until there
are few objects, after clients have left; how far a master may grow meanwhile, ``limits.memory`` says.
"""

import asyncio
import gc

SET_ASIDE_EVERY_S = 0.5
FULL_EVERY_S = 600.0
FULL_OBJECTS_MAX = 200_000  # a look at them takes 0.2 s at most; a master without clients has half as many


async def collect_rarely() -> None:
    """Keep the collector's pauses short until cancelled."""
    loop = asyncio.get_running_loop()
    full_at_s = loop.time() + FULL_EVERY_S
    try:
        while True:
            if loop.time() >= full_at_s and gc.get_freeze_count() <= FULL_OBJECTS_MAX:
                gc.unfreeze()
                gc.collect()
                full_at_s = loop.time() + FULL_EVERY_S
            gc.freeze()
            await asyncio.sleep(SET_ASIDE_EVERY_S)
    finally:
        gc.unfreeze()
