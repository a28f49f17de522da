"""How posts and names look on a terminal: pure. Whatever other users wrote, it cannot steer the terminal."""

from collections.abc import Sequence

from snsnode.base.harmless import harmless
from snsnode.client.timeline import Post


def post_line(post: Post) -> str:
    """Return ``username (YYYY-MM-DD HH:MM:SS) >> text``, in local time."""
    return f"{harmless(post.username)} ({post.time.astimezone():%Y-%m-%d %H:%M:%S}) >> {harmless(post.text)}"


def names(title: str, listed: Sequence[str]) -> str:
    """Return ``title: a, b``."""
    return f"{title}: {', '.join(map(harmless, listed)) or '(none)'}"
