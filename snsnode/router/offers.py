"""Clients that were sent to a server and that the server has not counted yet. Pure.

Called by ``table``. A master counts its clients in each registration, and a client takes a moment from the offer
to its login: one that is under way is counted here, until the master says that so many logged in, or for
``LOGIN_WITHIN_S``.
"""

LOGIN_WITHIN_S = 3.0  # who has not logged in by then went elsewhere
BUCKET_S = 0.25  # offers within this are one bucket, so there are at most LOGIN_WITHIN_S / BUCKET_S + 1 of them

Offers = tuple[tuple[float, int], ...]  # buckets, oldest first: monotonic time of the first offer, how many


def add(offers: Offers, now_s: float) -> Offers:
    """Note one more offer."""
    if offers and now_s - offers[-1][0] < BUCKET_S:
        at_s, count = offers[-1]
        return (*offers[:-1], (at_s, count + 1))
    return (*_recent(offers, now_s), (now_s, 1))


def settle(offers: Offers, logins: int, now_s: float) -> Offers:
    """Take off the oldest ``logins`` offers, which the server counts itself now, and those that are too old."""
    left: list[tuple[float, int]] = []
    for at_s, count in _recent(offers, now_s):
        taken = min(count, logins)
        logins -= taken
        if count > taken:
            left.append((at_s, count - taken))
    return tuple(left)


def under_way(offers: Offers, now_s: float) -> int:
    """Return how many clients are on their way."""
    return sum(count for _, count in _recent(offers, now_s))


def _recent(offers: Offers, now_s: float) -> Offers:
    return tuple(bucket for bucket in offers if now_s - bucket[0] < LOGIN_WITHIN_S)
