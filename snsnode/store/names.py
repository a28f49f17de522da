"""What is said of names that differ only in case, by every engine. Pure.

A name is looked up as it is written; where nobody has it, its case is ignored if that leaves one user. Nobody new
may take a name that differs from another only in case. Those who did before keep theirs.
"""

from snsnode.base.errors import NotAllowed, NotFound
from snsnode.base.ids import UserName, shown


def taken_in_another_case(username: UserName, known: str) -> NotAllowed:
    """Return why a new user cannot have the name."""
    return NotAllowed(
        f"cannot log in as {shown(username)}: there is a user {shown(known)}, and two names must not differ "
        f"only in case; log in as {shown(known)}, or choose another name"
    )


def ambiguous(verb: str, username: UserName) -> NotFound:
    """Return why ``verb`` ("cannot follow NAME") finds nobody."""
    return NotFound(
        f"{verb}: there is no user {shown(username)}, and several whose names differ from it only in case; write "
        "the one you mean exactly as LIST shows it"
    )
