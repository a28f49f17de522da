"""What typed lines mean, and how posts look: pure."""

from datetime import datetime

import pytest

from snsnode.base.errors import InvalidInput
from snsnode.base.harmless import harmless
from snsnode.client import Post
from snsnode.client.commands import HELP, USAGE, Command, Verb, completions, parse, parse_timeline
from snsnode.client.display import names, post_line


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("FOLLOW bob", Command(Verb.FOLLOW, "bob")),
        ("  follow   bob  ", Command(Verb.FOLLOW, "bob")),
        ("Unfollow Bob", Command(Verb.UNFOLLOW, "Bob")),
        ("list", Command(Verb.LIST)),
        ("Timeline", Command(Verb.TIMELINE)),
        ("HELP", Command(Verb.HELP)),
        ("quit", Command(Verb.QUIT)),
        ("/quit", Command(Verb.QUIT)),
    ],
)
def test_commands_in_any_case(line: str, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize("line", ["", "   ", "\t", "\r"])
def test_blank_lines_mean_nothing(line: str) -> None:
    assert parse(line) is None
    assert parse_timeline(line) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("FOLOW bob", "did you mean FOLLOW?"),
        ("tiemline", "did you mean TIMELINE?"),
        ("dance", "HELP lists the commands"),
        ("/back", "there is no command 'back'"),
        ("POST hello", "HELP lists the commands"),
        ("FOLLOW", "needs a user name: write FOLLOW name"),
        ("unfollow", "needs a user name: write UNFOLLOW name"),
        ("FOLLOW a b", "takes one user name: write FOLLOW name"),
        ("LIST all", "takes nothing after it: write LIST"),
        ("FOLLOW b\x1b[2J", "as a user name"),
        ("\x1b[2J", r"there is no command '\x1b[2J'"),
    ],
)
def test_bad_lines_get_the_fix(line: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(line)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("hello", Command(Verb.POST, "hello")),
        ("  LIST\n", Command(Verb.POST, "  LIST")),
        ("/quit", Command(Verb.QUIT)),
        ("/QUIT ", Command(Verb.QUIT)),
        ("/back", Command(Verb.BACK)),
        ("/shrug", Command(Verb.POST, "/shrug")),
    ],
)
def test_every_line_in_the_timeline_is_a_post(line: str, command: Command) -> None:
    assert parse_timeline(line) == command


def test_help_names_every_command() -> None:
    for usage in (*USAGE.values(), "/back", "/quit"):
        assert usage in HELP


def test_completion_knows_commands_and_names_and_keeps_quiet_in_posts() -> None:
    known = {"bob", "Bert", "alice"}
    assert completions("fo", known, in_timeline=False) == [("FOLLOW", 2)]
    assert completions("unfollow b", known, in_timeline=False) == [("Bert", 1), ("bob", 1)]
    assert completions("list b", known, in_timeline=False) == []
    assert completions("fo", known, in_timeline=True) == []
    assert completions("/q", known, in_timeline=True) == [("/quit", 2)]


def test_post_line_has_the_original_form_and_local_time() -> None:
    local = datetime(2026, 1, 2, 3, 4, 5).astimezone()
    assert post_line(Post("bob", local, "hello", 1)) == "bob (2026-01-02 03:04:05) >> hello"


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    text = "a\x1b[2J\nb\tc\x9b1m\u202ed\u2028e\u2066"
    shown = harmless(text)
    assert shown == r"a\x1b[2J\nb\tc\x9b1m\u202ed\u2028e\u2066"
    assert shown.isprintable()
    assert harmless("żółw 👩‍👩‍👧") == "żółw 👩‍👩‍👧"


def test_empty_list_says_so() -> None:
    assert names("Followers", []) == "Followers: (none)"
    assert names("All users", ["alice", "bob"]) == "All users: alice, bob"
