"""Identifiers and the rules for names and texts that people type.

Called by every room that takes a name from outside: the client, the servicer and the command line check with
the very same functions.
"""

import re
import unicodedata
import uuid
from typing import NewType

from snsnode.base.errors import InvalidInput

VmName = NewType("VmName", str)
UserName = NewType("UserName", str)
ClientId = NewType("ClientId", str)
RequestId = NewType("RequestId", str)
PostId = NewType("PostId", int)
Epoch = NewType("Epoch", int)

USERNAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
TEXT_BYTES_MAX = 4096
PATH_SHOWN = 4096  # characters of a path in a message: all of it
ID_BYTES_MAX = 64  # client and request ids: opaque to the server, bounded so that an index stays small

_USERNAME = re.compile(USERNAME_PATTERN)
_OPAQUE_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{ID_BYTES_MAX}}}")


def parse_username(text: str) -> UserName:
    """Return ``text`` as a user name: 1–32 ASCII letters, digits, ``_ . -``, first a letter or a digit.

    Raises:
        InvalidInput: it is something else.
    """
    if not _USERNAME.fullmatch(text):
        raise InvalidInput(
            f"cannot take {shown(text)} as a user name: write 1 to 32 letters (A to Z and a to z, without "
            "accents), digits, '_', '.' or '-', the first a letter or a digit"
        )
    return UserName(text)


def parse_text(text: str) -> str:
    """Return ``text`` as the text of a post: at most 4,096 bytes of UTF-8, not blank, no control characters.

    Newlines and tabs are allowed; other control characters could steer a reader's terminal.

    Raises:
        InvalidInput: it is something else.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput("cannot post this text: it is not valid Unicode") from None
    if not text.strip():
        raise InvalidInput("cannot post a blank text: write at least one visible character")
    if size > TEXT_BYTES_MAX:
        raise InvalidInput(f"cannot post a text of {size} bytes: at most {TEXT_BYTES_MAX} are taken")
    for character in text:
        if unicodedata.category(character) == "Cc" and character not in "\n\t":
            raise InvalidInput(f"cannot post a text with the control character {character!r}: leave it out")
    return text


def parse_client_id(text: str) -> ClientId:
    """Return ``text`` as a client id.

    Raises:
        InvalidInput: not 1–64 letters, digits, ``_`` or ``-``.
    """
    return ClientId(_opaque(text, "client id"))


def parse_request_id(text: str) -> RequestId:
    """Return ``text`` as a request id.

    Raises:
        InvalidInput: not 1–64 letters, digits, ``_`` or ``-``.
    """
    return RequestId(_opaque(text, "request id"))


def new_client_id() -> ClientId:
    """Make a client id that no other process has."""
    return ClientId(uuid.uuid4().hex)


def new_request_id() -> RequestId:
    """Make a request id that no other request has."""
    return RequestId(uuid.uuid4().hex)


def shown(text: str, width: int = 60) -> str:
    """Quote ``text`` for a message: escapes control characters and cuts it at ``width`` characters."""
    return repr(text if len(text) <= width else text[: width - 1] + "…")


def _opaque(text: str, what: str) -> str:
    if not _OPAQUE_ID.fullmatch(text):
        raise InvalidInput(
            f"cannot take {shown(text)} as a {what}: write 1 to {ID_BYTES_MAX} letters, digits, '_' or '-'"
        )
    return text
