"""The checks of what programs pass to a client, in words. Pure; called by ``client`` and ``sync``.

What people type is checked by ``base.ids``, as at the server; here also what only a program can get wrong: a value
of another type.
"""

import math
import re
from collections.abc import Sequence

from snsnode.base.errors import InvalidInput
from snsnode.base.ids import UserName, parse_text, parse_username, shown

DEADLINE_MAX_S = 86_400.0

_TARGET = re.compile(r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.%]+\]):(?P<port>[0-9]{1,5})")


def routers_of(routers: object) -> tuple[str, ...]:
    """Return the routers' ``host:port``, each once.

    Raises:
        InvalidInput: it is no list of them.
    """
    if isinstance(routers, str | bytes) or not isinstance(routers, Sequence) or not routers:
        raise InvalidInput(
            f"cannot use {_shown(routers)} as routers: write a list of 'host:port', like ['127.0.0.1:3010']"
        )
    for router in routers:
        match = _TARGET.fullmatch(router) if isinstance(router, str) else None
        if match is None or not 0 < int(match["port"]) < 65536:
            raise InvalidInput(
                f"cannot use {_shown(router)} as a router: write 'host:port', like '127.0.0.1:3010'"
            )
    return tuple(dict.fromkeys(routers))


def name_of(username: object) -> UserName:
    """Return a user's name.

    Raises:
        InvalidInput: it is malformed, or no str.
    """
    return parse_username(_text(username, "a user name"))


def text_of(text: object) -> str:
    """Return the text of a post.

    Raises:
        InvalidInput: it is malformed, or no str.
    """
    return parse_text(_text(text, "the text of a post"))


def deadline_of(deadline_s: object) -> float:
    """Return a deadline in seconds.

    Raises:
        InvalidInput: it is no number, not above 0, or above a day.
    """
    number = deadline_s if isinstance(deadline_s, int | float) else math.nan
    if not 0 < number <= DEADLINE_MAX_S:
        raise InvalidInput(
            f"cannot take deadline_s={_shown(deadline_s)}: write seconds above 0, at most a day (86400)"
        )
    return float(number)


def check_on_event(on_event: object) -> None:
    """Check a callback.

    Raises:
        InvalidInput: it cannot be called.
    """
    if on_event is not None and not callable(on_event):
        raise InvalidInput(f"cannot take on_event={_shown(on_event)}: pass a function of one argument, the event")


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(
            f"cannot take {_shown(value)} as {what}: it is of type {type(value).__name__}; pass a str"
        )
    return value


def _shown(value: object) -> str:
    return shown(value) if isinstance(value, str) else shown(repr(value))[1:-1]
