"""YAML text into a tree of nodes that remember where they stand.

Built from PyYAML's event stream instead of ``yaml.compose``: an event stream cannot recurse, so that depth,
size and aliases are bounded before they cost anything. Plain scalars are resolved as in YAML 1.2, the way
editors do: a VM may be called ``no``, and ``010`` is no octal number. Called by ``draft``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from snsnode.base.ids import shown
from snsnode.spec.problems import Mark, Problem

TEXT_MAX = 1 << 20  # characters; a thousand VMs take about 80,000
NODES_MAX = 100_000  # keys and values; a thousand VMs take about 10,000
DEPTH_MAX = 32
# PyYAML's own parser words errors better; libyaml, which comes with PyYAML's wheels, is twenty times faster.
WORDED_MAX = 16_000

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?=.*[.eE])(?:[0-9]*\.[0-9]+|[0-9]+\.?)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value, and the text as it was written."""

    mark: Mark
    value: str | int | float | bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list; what is in it is nobody's business, for no key of a spec takes one."""

    mark: Mark
    items: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values in the order of the file, duplicates included."""

    mark: Mark
    entries: list[tuple["Node", "Node"]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Alias:
    """``*name``: stands for a node written earlier."""

    mark: Mark
    target: "Node"


class _Position(Protocol):
    """PyYAML's two mark classes, counting from 0."""

    line: int
    column: int


Node = Scalar | Sequence | Mapping | Alias


class Unreadable(Exception):
    """The text is no YAML that a spec may be made of; holds the one problem that ended the reading."""

    def __init__(self, mark: Mark, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(mark, text)


def read(text: str) -> Node | None:
    """Return the tree of ``text``, or None where it holds nothing but comments.

    Raises:
        Unreadable: a syntax error, more than one document, an explicit tag, or a bound passed.
    """
    if len(text) > TEXT_MAX:
        raise Unreadable(Mark(1, 1), f"the file is longer than {TEXT_MAX} characters: is it a cluster spec?")
    _check_characters(text)
    try:
        return _compose(yaml.parse(text, Loader=_loader(text)))
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_mark(error.problem_mark or error.context_mark), _syntax(error)) from None
    except yaml.reader.ReaderError as error:
        raise Unreadable(*_unprintable(text, error.position)) from None


def _loader(text: str) -> Any:
    return yaml.SafeLoader if len(text) <= WORDED_MAX else getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_characters(text: str) -> None:
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if found is not None:
        raise Unreadable(*_unprintable(text, found.start()))


def _compose(events: Iterator[Event]) -> Node | None:
    root: Node | None = None
    documents = 0
    anchors: dict[str, Node] = {}
    path: list[_Open] = []
    nodes = 0
    for event in events:
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise Unreadable(
                    _mark(event.start_mark), "a second document: write one spec a file, without '---'"
                )
        elif isinstance(event, CollectionEndEvent):
            path.pop()
        elif isinstance(event, NodeEvent):
            nodes += 1
            node = _node(event, anchors, path)
            if nodes > NODES_MAX:
                raise Unreadable(node.mark, f"more than {NODES_MAX} keys and values: is it a cluster spec?")
            if path:
                path[-1].add(node)
            else:
                root = node
            if isinstance(node, Sequence | Mapping):
                path.append(_Open(node))
    empty = isinstance(root, Scalar) and root.value is None and not root.text
    return None if empty else root


@dataclass(slots=True)
class _Open:
    """A collection that is still being filled, and the key that waits for its value."""

    node: Sequence | Mapping
    key: Node | None = None

    def add(self, child: Node) -> None:
        if isinstance(self.node, Sequence):
            self.node.items.append(child)
        elif self.key is None:
            self.key = child
        else:
            self.node.entries.append((self.key, child))
            self.key = None


def _node(event: NodeEvent, anchors: dict[str, Node], path: list[_Open]) -> Node:
    mark = _mark(event.start_mark)
    if isinstance(event, AliasEvent):
        target = anchors.get(event.anchor or "")
        if target is None:
            name = _cut(event.anchor)
            raise Unreadable(mark, f"the alias *{name} stands for nothing: write &{name} earlier")
        if any(target is opened.node for opened in path):
            raise Unreadable(mark, f"the alias *{_cut(event.anchor)} stands within itself: write the value out")
        return Alias(mark, target)
    if len(path) >= DEPTH_MAX:
        raise Unreadable(mark, f"nested deeper than {DEPTH_MAX} levels: a spec has four")
    node = _fresh(event, mark)
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _cut(anchor: str | None) -> str:
    return shown(anchor or "")[1:-1]


def _fresh(event: NodeEvent, mark: Mark) -> Node:
    tag = getattr(event, "tag", None)
    if tag is not None:
        raise Unreadable(mark, f"the tag {shown(tag)} is not taken: write the value without a tag")
    if isinstance(event, MappingStartEvent):
        return Mapping(mark)
    if isinstance(event, SequenceStartEvent):
        return Sequence(mark)
    assert isinstance(event, ScalarEvent)
    plain = event.implicit[0]
    return Scalar(mark, _resolve(event.value) if plain else event.value, event.value)


def _resolve(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _mark(mark: _Position | None) -> Mark:
    return Mark(1, 1) if mark is None else Mark(mark.line + 1, mark.column + 1)


_HINTS = (
    (r"character '\t'", "a tab: write spaces for the indentation"),
    ("mapping values are not allowed", "check the indentation, and put a text that holds ': ' in quotes"),
    ("cannot start any token", "put the text in quotes"),
    ("but found ':'", 'put an IPv6 address in quotes, as "::1"'),
    ("maximum nesting depth", f"a spec has four levels, and {DEPTH_MAX} are taken"),
    ("found unexpected end of stream", "close the quote"),
    ("could not find expected ':'", "write KEY: VALUE"),
    ("expected ',' or '}'", "separate entries by ',' and close the mapping with '}'"),
    ("expected ',' or ']'", "separate entries by ',' and close the list with ']'"),
    ("expected <block end>", "indent every key of one mapping alike"),
)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "syntax error"
    hint = next((hint for sign, hint in _HINTS if sign in problem), "check the lines above")
    context = f" {error.context}" if error.context else ""
    return f"not YAML{context}: {problem}: {hint}"


def _unprintable(text: str, position: int) -> tuple[Mark, str]:
    before = text[:position]
    mark = Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
    return mark, f"the character U+{ord(text[position]):04X} is not allowed in YAML: leave it out"
