"""Mutations of bytes and of JSON, by a given source of chance: the same chance gives the same mutation."""

import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOKENS = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xc3",
    b"\t",
    b"\r\n",
    b"\n\n",
    b"\x1b[2J\x1b]0;x\x07",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"0",
    b"4611686018427387904",
    b"9223372036854775807",
    b"18446744073709551616",
    b"9" * 5000,
    b"[" * 4000,
    b'{"a":' * 3000,
    b"{a: " * 2000,
    b"- " * 500,
    b"<<: *a\n",
    b"&a ",
    b"*a ",
    b"!!python/object/apply:os.system ",
    b"---\n",
    b"%YAML 9.9\n",
    b"? ",
    b"| \n",
    b": ",
    b'"',
    b"'",
    b"#",
    b'"\\ud800"',
    b"null",
    b"true",
    b"x" * 9000,
    b"../../../etc/passwd",
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e300, 2**31, 2**53, 2**62, 2**63, 2**64, 10**400),
    *("", "x", "1", "NaN", "\0", "\x1b[2J", "\ud800", "a\nb", "../..", "x" * 9000, "\u202e", "ä"),
    *([], {}, [[]], [None] * 50, {"a": {"b": {"c": {}}}}, {"": ""}),
)


def mutated(chance: random.Random, content: bytes) -> bytes:
    """Return ``content`` after one to four changes."""
    if chance.random() < 0.3:
        content = _json(chance, content)
    for _ in range(chance.randint(1, 4)):
        content = chance.choice(_CHANGES)(chance, content)
    return content[: 1 << 22]


def _flip(chance: random.Random, content: bytes) -> bytes:
    if not content:
        return b"\0"
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def _cut(chance: random.Random, content: bytes) -> bytes:
    start, end = _slice(chance, content)
    return content[:start] + content[end:]


def _end(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _again(chance: random.Random, content: bytes) -> bytes:
    start, end = _slice(chance, content)
    times = chance.choice((1, 2, 10, 300)) if end - start < 4000 else 1
    return content[:end] + content[start:end] * times + content[end:]


def _token(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(TOKENS) + content[at:]


def _replaced(chance: random.Random, content: bytes) -> bytes:
    start, end = _slice(chance, content)
    return content[:start] + chance.choice(TOKENS) + content[end:]


def _noise(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.randbytes(chance.randrange(64)) + content[at:]


def _swapped(chance: random.Random, content: bytes) -> bytes:
    start, end = _slice(chance, content)
    return content[end:] + content[start:end] + content[:start]


_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_flip, _cut, _end, _again, _token, _token, _replaced, _replaced, _noise, _swapped),
)


def _slice(chance: random.Random, content: bytes) -> tuple[int, int]:
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + chance.choice((1, 4, 16, 64, 1024)))


def _json(chance: random.Random, content: bytes) -> bytes:
    """Replace one value of a JSON object within ``content``, if there is one."""
    at = content.find(b"{")
    try:
        tree = json.loads(content[at:])
    except (ValueError, RecursionError):
        return content
    places: list[tuple[Any, Any]] = []
    _collect(tree, places)
    if not places:
        return content
    owner, key = chance.choice(places)
    owner[key] = chance.choice(VALUES)
    return content[:at] + json.dumps(tree).encode()


def _collect(tree: Any, places: list[tuple[Any, Any]]) -> None:
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        places.append((tree, key))
        _collect(child, places)


# --- what may stand in a file's place -------------------------------------------------------------------------


def put(chance: random.Random, path: Path, content: bytes) -> None:
    """Put a mutation of ``content``, or something that is no file, to ``path``."""
    if chance.random() < 0.9:
        path.write_bytes(mutated(chance, content))
    else:
        chance.choice(_STRANGERS)(path)


def _folder(path: Path) -> None:
    (path / "in it").mkdir(parents=True)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        folder = os.open(path.parent, os.O_PATH)  # a socket's name is short
        try:
            one.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 36)


def _nothing(path: Path) -> None:
    """Leave it missing."""


_STRANGERS: tuple[Callable[[Path], None], ...] = (_folder, _pipe, _socket, _loop, _device, _huge, _nothing)
