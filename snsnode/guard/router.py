"""The router's rows of the table. It has no partner and no spare: supervisord alone watches it, and launches it.

supervisord sees a death by itself. What it does not see is a router that lives and serves nobody: one that is
frozen, and one whose event loop stands still. Whether a router *answers* is no evidence here: a flood keeps a
healthy one from answering, and to end it would be the flood's victory.
"""

from collections.abc import Hashable

from snsnode.guard import times
from snsnode.guard.table import FROZEN, Act, Row
from snsnode.guard.view import Me, Place, View


def _is_watched(view: View) -> bool:
    return "router" in view.wanted and not view.router.is_traced


def _frozen_router(view: View) -> Hashable | None:
    return view.router.identity if _is_watched(view) and view.router.is_frozen else None


def _unmoved_router(view: View) -> Hashable | None:
    """Its event loop does not turn. One in state D waits for its disk."""
    router = view.router
    if not _is_watched(view) or router.letter in ("T", "D") or router.progress is None:
        return None
    return router.identity, router.progress


def _unready_router(view: View) -> Hashable | None:
    """A child that does not get as far as its lock."""
    return view.born if "router" in view.wanted else None


ROUTER_TABLE: tuple[Row, ...] = (
    Row(
        "frozen router",
        Me.SUPERVISORD,
        Place.ROUTER,
        Act.END,
        _frozen_router,
        lambda _: times.ROUTER_FROZEN_S,
        FROZEN,
        "the kernel says so at each look; whoever freezes it for a moment has thawed it by then",
    ),
    Row(
        "unmoved router",
        Me.SUPERVISORD,
        Place.ROUTER,
        Act.END,
        _unmoved_router,
        lambda t: t.router_s,
        "it does not move",
        "nobody is nearer to it, so that nobody is waited for; a healthy one stands still for less",
    ),
    Row(
        "unready router",
        Me.SUPERVISORD,
        Place.ROUTER,
        Act.END,
        _unready_router,
        lambda _: times.START_S,
        "did not become ready in time",
        "until it has announced itself, only its parent can find it",
    ),
)
