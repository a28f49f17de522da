"""What could be read of a spec: plain values for pydantic, and where each of them stands.

One mistake must not hide another. So a misspelt key is reported and its value then read as the key that was
meant, a VM written twice is reported and both are checked, and a key without a value is reported once. Called
by ``parse``; ``rules`` looks at the same draft.
"""

import difflib
import re
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from snsnode.base.ids import shown
from snsnode.spec import model, tree
from snsnode.spec.problems import Mark, Problem
from snsnode.spec.scalars import NAME_PATTERN

MERGE_KEY = "<<"
AGAIN = " (again"  # begins what is added to the name of a key that is written twice
HINTS_MAX = 200  # unknown keys that are compared with the known ones; more are not shown
NODES_MAX = 100_000  # aliases expanded; a thousand VMs take about 8,000

Path = tuple[str, ...]

WANTED = {
    "cluster": "a name, such as local",
    "store": "sqlite:///PATH or postgresql://USER@HOST/DATABASE",
    "selection": "single or spread",
    "spare": "true or false",
    "separate_data": "true or false",
    "keepalive": "{interval: 3s, timeout: 1s, silence: 9s}",
    "interval": "a duration such as 3s",
    "timeout": "a duration such as 1s",
    "silence": "a duration such as 9s",
    "restart": "{intensity: 5, period: 10s, backoff_max: 10s}",
    "intensity": "a whole number from 1 to 10000",
    "period": "a duration such as 10s",
    "backoff_max": "a duration such as 10s",
    "limits": "{memory: 1GiB}",
    "memory": "a size such as 512MiB or 2GiB",
    "vms": "at least one VM, such as {vm1: {address: 127.0.0.1, router: {port: 3010}}}",
    "address": "an IP address or a host name",
    "router": "{port: 3010}",
    "server": "{port: 3020}",
    "port": f"a whole number from 1 to {model.PORT_MAX}",
}
WANTED_VM = "{address: 127.0.0.1, server: {port: 3020}}"


@dataclass(slots=True)
class Draft:
    """``values`` and ``keys`` are the places of every value and key that was read, by path."""

    data: dict[str, Any] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    settled: set[Path] = field(default_factory=set)  # reported already; pydantic need not say it again
    merged: set[Path] = field(default_factory=set)  # mappings with a merge key: what they lack stands elsewhere
    repeats: dict[Path, int] = field(default_factory=dict)  # how often a key was written again
    left: int = NODES_MAX

    def report(self, mark: Mark, text: str) -> None:
        """Note one problem."""
        self.problems.append(Problem(mark, text))

    def key_mark(self, path: Path) -> Mark:
        """Return where the nearest key that was read stands, ``path``'s own or one above it."""
        while path and path not in self.keys:
            path = path[:-1]
        return self.keys.get(path, self.values.get((), Mark(1, 1)))

    def value_mark(self, path: Path) -> Mark:
        """Return where the value at ``path`` stands, or the key above it."""
        return self.values.get(path) or self.key_mark(path)

    def vms(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the VMs that are mappings at least, in the order of the file."""
        vms = self.data.get("vms")
        return [(name, vm) for name, vm in vms.items() if isinstance(vm, dict)] if isinstance(vms, dict) else []


def make(root: tree.Node) -> Draft:
    """Return what can be read of the tree ``root``, with the problems of its keys.

    Raises:
        tree.Unreadable: the aliases in it expand beyond ``NODES_MAX`` nodes.
    """
    draft = Draft()
    value = _value(draft, root, (), None)
    if isinstance(value, dict):
        draft.data = value
    else:
        draft.report(draft.values[()], f"the file holds {what(value)}: write the keys cluster and vms")
        draft.settled.update({("cluster",), ("vms",)})
    return draft


def what(value: object) -> str:
    """Name ``value`` in a message."""
    if isinstance(value, MappingABC):
        return "a mapping" if value else "empty"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return shown(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def wanted(path: Path) -> str:
    """Return what to write at ``path``."""
    key = path[-1].partition(AGAIN)[0]
    return WANTED_VM if path[:1] == ("vms",) and len(path) == 2 else WANTED[key]


def _value(draft: Draft, node: tree.Node, path: Path, seen_at: Mark | None) -> Any:
    """Return the plain value of ``node``; ``seen_at`` is the alias through which it is seen."""
    mark = seen_at or node.mark
    if len(path) > tree.DEPTH_MAX:
        raise tree.Unreadable(mark, f"the aliases nest deeper than {tree.DEPTH_MAX} levels: a spec has four")
    draft.left -= 1
    if draft.left < 0:
        raise tree.Unreadable(mark, f"the aliases expand to more than {NODES_MAX} values: write them out")
    draft.values[path] = mark
    if isinstance(node, tree.Alias):
        return _value(draft, node.target, path, mark)
    if isinstance(node, tree.Scalar):
        return node.value
    if isinstance(node, tree.Sequence):
        return []
    return _mapping(draft, node, path, seen_at)


def _mapping(draft: Draft, node: tree.Mapping, path: Path, seen_at: Mark | None) -> dict[str, Any]:
    known = _known(path)
    written = {_text(key) for key, _ in node.entries}
    found: dict[str, Any] = {}
    for key_node, value_node in node.entries:
        mark = seen_at or key_node.mark
        if _text(key_node) == MERGE_KEY:
            _refuse_merge(draft, mark, path, known)
            continue
        key = _key(draft, key_node, mark, path, known)
        if key is not None and known is not None and key not in known:
            key = _meant(draft, key, mark, known, written)
        if key is None:
            continue
        if key in found or (*path, key) in draft.keys:
            key = _again(draft, key, mark, path)
        draft.keys[*path, key] = mark
        value = _value(draft, value_node, (*path, key), seen_at)
        if value is None and (known is not None or path == ("vms",)):
            draft.report(mark, f"{key!r} has no value: write {wanted((*path, key))}, or leave the key out")
            draft.settled.add((*path, key))
        else:
            found[key] = value
    return found


def _refuse_merge(draft: Draft, mark: Mark, path: Path, known: dict[str, None] | None) -> None:
    """Report a merge key once: that the mapping lacks what it would have brought is no mistake of its own."""
    if path not in draft.merged:
        draft.report(mark, f"merge keys ({MERGE_KEY}) are not supported: write the keys out here")
        draft.merged.add(path)
        draft.settled.update((*path, key) for key in known or ())


def _known(path: Path) -> dict[str, None] | None:
    """Return the keys that the mapping at ``path`` takes; None where any will do."""
    match path:
        case ():
            owner: type[BaseModel] = model.Spec
        case ("keepalive",):
            owner = model.KeepAlive
        case ("restart",):
            owner = model.Restart
        case ("limits",):
            owner = model.Limits
        case ("vms", _):
            owner = model.Vm
        case ("vms", _, "router" | "server"):
            owner = model.Listener
        case _:
            return None
    return {info.alias or name: None for name, info in owner.model_fields.items()}


def _text(node: tree.Node) -> str | None:
    while isinstance(node, tree.Alias):
        node = node.target
    return node.text if isinstance(node, tree.Scalar) else None


def _key(draft: Draft, node: tree.Node, mark: Mark, path: Path, known: dict[str, None] | None) -> str | None:
    text = _text(node)
    plain = node.target if isinstance(node, tree.Alias) else node
    if text is None:
        draft.report(
            mark, f"a key is {'a list' if isinstance(plain, tree.Sequence) else 'a mapping'}: write a word"
        )
    elif isinstance(plain, tree.Scalar) and not isinstance(plain.value, str) and _may_be_meant(text, path, known):
        draft.report(mark, f'the key {text} is not a text: write "{text}" in quotes')
        draft.settled.add((*path, text))
    return text


def _may_be_meant(text: str, path: Path, known: dict[str, None] | None) -> bool:
    """Whether quotes alone would make a good key of ``text``; if not, it is reported as a bad name anyway."""
    return known is None and (path != ("vms",) or re.fullmatch(NAME_PATTERN, text) is not None)


def _meant(draft: Draft, key: str, mark: Mark, known: dict[str, None], written: set[str | None]) -> str | None:
    """Report an unknown key; return the one that was meant if it is clear and not written as well."""
    may_hint = len(draft.problems) < HINTS_MAX and len(key) < 64
    near = difflib.get_close_matches(key.lower().replace("-", "_"), known, 1, 0.7) if may_hint else []
    fix = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(known)}"
    draft.report(mark, f"unknown key {shown(key)}: {fix}")
    return near[0] if near and near[0] not in written else None


def _again(draft: Draft, key: str, mark: Mark, path: Path) -> str:
    """Report a key written twice; return a name under which its value is checked all the same."""
    first = draft.keys[*path, key]
    draft.report(mark, f"{key!r} is written twice, first in line {first.line}: leave one of the two out")
    repeats = draft.repeats
    alias = f"{key}{AGAIN})"
    while (*path, alias) in draft.keys:
        repeats[*path, key] = repeats.get((*path, key), 1) + 1
        alias = f"{key}{AGAIN} {repeats[*path, key]})"
    draft.settled.add((*path, alias))
    return alias
