"""Text that cannot steer a terminal: pure. Called where text leaves for a terminal, whoever wrote it."""

import re

# Control characters (C0, DEL, C1), the line breaks of Unicode, overrides of the writing direction, which make a
# line read as something else, and halves of characters, which cannot be written out.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str, keep: str = "") -> str:
    """Return ``text`` with everything that could steer a terminal written as an escape, except ``keep``."""
    return _HARMFUL.sub(lambda match: match[0] if match[0] in keep else _escaped(match[0]), text)


def harmless_json(text: str) -> str:
    """Return ``text``, which is JSON on one line, with the same characters written as JSON escapes them."""
    return _HARMFUL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
