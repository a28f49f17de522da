"""What a typed line means: pure. Called by ``conversation``; also what completion and HELP know."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from snsnode.base.errors import InvalidInput
from snsnode.base.ids import parse_username, shown


class Verb(Enum):
    """The commands; BACK and POST exist in the timeline only."""

    FOLLOW = "FOLLOW"
    UNFOLLOW = "UNFOLLOW"
    LIST = "LIST"
    TIMELINE = "TIMELINE"
    HELP = "HELP"
    QUIT = "QUIT"
    BACK = "/back"
    POST = "POST"


@dataclass(frozen=True, slots=True)
class Command:
    """A verb and what it acts on: a user name, the text of a post, or nothing."""

    verb: Verb
    argument: str = ""


USAGE = {
    Verb.FOLLOW: "FOLLOW name",
    Verb.UNFOLLOW: "UNFOLLOW name",
    Verb.LIST: "LIST",
    Verb.TIMELINE: "TIMELINE",
    Verb.HELP: "HELP",
    Verb.QUIT: "QUIT",
}
NAMING = (Verb.FOLLOW, Verb.UNFOLLOW)

HELP = """\
FOLLOW name     see the posts that NAME makes from now on
UNFOLLOW name   undo it
LIST            all users, and who follows you
TIMELINE        the last 20 posts, newest first, then new ones as they are made;
                there every line you type is a post, except:
                  /back, Ctrl-D   return to the commands
                  /quit           leave
HELP            this text
QUIT, Ctrl-D    log out and leave

Commands may be typed in any case. Times are this machine's. Without a terminal, lines are read from
standard input; a line that is refused says so and the next one runs; the exit code is then 1."""


def parse(line: str) -> Command | None:
    """Return the command in ``line``, None for a blank one.

    Raises:
        InvalidInput: it is no command, or its argument is missing, in excess or malformed.
    """
    word, _, rest = line.strip().partition(" ")
    if not word:
        return None
    verb = _verb(word.removeprefix("/"))
    arguments = rest.split()
    wanted = 1 if verb in NAMING else 0
    if len(arguments) < wanted:
        raise InvalidInput(f"{verb.value} needs a user name: write {USAGE[verb]}")
    if len(arguments) > wanted:
        takes = "one user name" if wanted else "nothing after it"
        raise InvalidInput(f"{verb.value} takes {takes}: write {USAGE[verb]}")
    return Command(verb, parse_username(arguments[0]) if arguments else "")


def parse_timeline(line: str) -> Command | None:
    """Return what ``line`` means in the timeline: a post, unless it is /back or /quit; None for a blank one."""
    word = line.strip().lower()
    if not word:
        return None
    if word == "/quit":
        return Command(Verb.QUIT)
    if word == "/back":
        return Command(Verb.BACK)
    return Command(Verb.POST, line.rstrip("\r\n"))


def completions(text: str, known: Iterable[str], *, in_timeline: bool) -> list[tuple[str, int]]:
    """Return the words that may stand at the end of ``text``, and how many typed characters each replaces."""
    word, blank, rest = text.lstrip().partition(" ")
    if in_timeline:
        words, typed = (["/back", "/quit"], text) if text.startswith("/") else ([], "")
    elif not blank:
        words, typed = [verb.value for verb in USAGE], word
    elif word.upper() in [verb.value for verb in NAMING]:
        words, typed = sorted(known), rest.lstrip()
    else:
        words, typed = [], ""
    return [(found, len(typed)) for found in words if found.lower().startswith(typed.lower())]


def _verb(word: str) -> Verb:
    for verb in USAGE:
        if word.upper() == verb.value:
            return verb
    close = difflib.get_close_matches(word.upper(), [verb.value for verb in USAGE], n=1)
    advice = f"did you mean {close[0]}?" if close else "HELP lists the commands"
    raise InvalidInput(f"there is no command {shown(word)}: {advice}")
