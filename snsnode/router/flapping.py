"""What a router makes of a server that crashes again and again. Pure.

Called by ``table``. Each crash within ``FORGIVE_S`` of the one before doubles the *hold-down*: so long after
its return the server is offered last. Afterwards it is filled slowly (``weight``), for its caches are cold and its
next crash would hit fewer. Neither keeps anybody from a server that is the only one.
"""

HOLD_FIRST_S = 2.0
HOLD_MAX_S = 60.0
FORGIVE_S = 120.0  # without a crash; longer than the longest hold-down
RAMP_S = 10.0  # from the end of the hold-down to a full share of the clients
RAMP_FLOOR = 0.1  # the share it begins with

NEVER_S = float("-inf")


def crashes_after(crashes: int, crashed_s: float, now_s: float) -> int:
    """Return how many crashes count with the one at ``now_s``, when ``crashes`` counted at ``crashed_s``."""
    return 1 if now_s - crashed_s > FORGIVE_S else crashes + 1


def held_until_s(crashes: int, crashed_s: float, now_s: float) -> float:
    """Return until when a server that returns at ``now_s`` is offered last; ``NEVER_S`` where it is not."""
    if crashes == 0 or now_s - crashed_s > FORGIVE_S:
        return NEVER_S
    return now_s + min(HOLD_MAX_S, HOLD_FIRST_S * 2.0 ** min(crashes - 1, 30))


def weight(held_s: float, now_s: float) -> float:
    """Return the share of clients, ``RAMP_FLOOR`` to 1, of a server whose hold-down ends at ``held_s``."""
    return min(1.0, max(RAMP_FLOOR, (now_s - held_s) / RAMP_S))
