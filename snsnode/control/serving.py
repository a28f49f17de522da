"""Ask a role whether it serves, from code that has no event loop."""

import asyncio

from snsnode.transport.health import is_serving

PROBE_S = 1.0


def serves(target: str, timeout_s: float = PROBE_S) -> bool:
    """Tell whether the process at ``target`` answers its health check with SERVING."""
    return asyncio.run(is_serving(target, timeout_s))
