"""How posts and names look on a terminal: pure. Whatever other users wrote, it cannot steer the terminal."""

import unicodedata
from collections.abc import Sequence

from snsnode.client.timeline import Post

# Cc: control characters. Zl, Zp: line breaks of Unicode. Cs: halves of characters, which cannot be written out.
_HARMFUL_CATEGORIES = frozenset({"Cc", "Zl", "Zp", "Cs"})
# Overrides of the writing direction: they can make a line read as something else.
_DIRECTIONS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def harmless(text: str) -> str:
    """Return ``text`` on one line, with everything that could steer a terminal written as an escape."""
    return "".join(_escaped(character) if _is_harmful(character) else character for character in text)


def post_line(post: Post) -> str:
    """Return ``username (YYYY-MM-DD HH:MM:SS) >> text``, in local time."""
    return f"{harmless(post.username)} ({post.time.astimezone():%Y-%m-%d %H:%M:%S}) >> {harmless(post.text)}"


def names(title: str, listed: Sequence[str]) -> str:
    """Return ``title: a, b``."""
    return f"{title}: {', '.join(map(harmless, listed)) or '(none)'}"


def _is_harmful(character: str) -> bool:
    return character in _DIRECTIONS or unicodedata.category(character) in _HARMFUL_CATEGORIES


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
