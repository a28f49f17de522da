"""What is wrong before a spec begins: YAML itself."""

import time

import pytest
import yaml

from snsnode.spec import tree
from snsnode.spec.parse import parse
from snsnode.spec.problems import SHOWN_MAX, SpecError
from snsnode.spec.tree import DEPTH_MAX, TEXT_MAX

VMS = "vms: {a: {address: localhost, router: {port: 1}, server: {port: 2}}}\n"
GOOD = f"cluster: c\n{VMS}"


def refused(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, "f.yaml")
    return caught.value.message.splitlines()


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_empty_file_is_reported(text: str) -> None:
    assert refused(text) == ["f.yaml:1:1: the file is empty: write the keys cluster and vms"]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("cluster: c\nvms:\n\ta: 1\n", "3:1", "a tab: write spaces"),
        ("cluster: c: d\n", "1:11", "mapping values are not allowed"),
        ("cluster: 'c\n", "2:1", "close the quote"),
        ("cluster: c\nvms: {a: 1\n", "3:1", "close the mapping"),
        ("cluster: c\nvms: {a: {address: ::1}}\n", "2:20", "IPv6 address in quotes"),
        ("cluster: c\n---\ncluster: d\n", "2:1", "a second document"),
        ("cluster: *c\n", "1:10", "stands for nothing"),
        ("vms: &v {a: *v}\n", "1:13", "stands within itself"),
        ("cluster: !!str c\n", "1:10", "write the value without a tag"),
        ("cluster: !!python/object/apply:os.system [x]\n", "1:10", "write the value without a tag"),
        ("cluster: c\nvms: \x07\n", "2:6", "U+0007"),
        ("[" * 5000, f"1:{DEPTH_MAX + 1}", "nested deeper"),
        ("- c\n", "1:1", "the file holds a list"),
        ("c\n", "1:1", "the file holds 'c'"),
    ],
)
def test_text_that_is_no_spec_is_reported_where_it_breaks(text: str, place: str, words: str) -> None:
    lines = refused(text)
    assert len(lines) == 1
    assert lines[0].startswith(f"f.yaml:{place}: ")
    assert words in lines[0]


def test_aliases_cannot_blow_up() -> None:
    levels = ["a0: &a0 {x: 1}"]
    levels += [f"a{i}: &a{i} {{{', '.join(f'b{j}: *a{i - 1} ' for j in range(10))}}}" for i in range(1, 12)]
    # Below a key that the spec knows, so that the walk would descend.
    text = f"{GOOD}spare: {{{', '.join(levels)}}}\n"
    begun = time.monotonic()
    assert any("the aliases expand to more than" in line for line in refused(text))
    assert time.monotonic() - begun < 5


def test_long_file_is_refused_before_it_is_parsed() -> None:
    assert "longer than" in refused("#" * (TEXT_MAX + 1))[0]


def test_alias_stands_for_its_value() -> None:
    spec, _ = parse(
        "cluster: c\nvms:\n  a: {address: &h h1, router: {port: 1}, server: {port: 2}}\n"
        "  b: {address: *h , server: {port: 3}}\n",
        "f",
    )
    assert [vm.address for vm in spec.vms.values()] == ["h1", "h1"]


def test_mistake_seen_through_an_alias_is_reported_at_the_alias() -> None:
    lines = refused("cluster: c\nvms:\n  a: &a {address: h, router: {port: 1}, server: {port: 2}}\n  b: *a\n")
    assert [line.split(": ")[0] for line in lines] == ["f.yaml:4:6", "f.yaml:4:6"]


def test_scalars_are_those_of_yaml_1_2() -> None:
    spec, _ = parse(GOOD.replace("{a:", "{no:").replace("cluster: c", "cluster: on"), "f")
    assert (spec.cluster, list(spec.vms)) == ("on", ["no"])
    assert refused(GOOD + "spare: yes\n") == ["f.yaml:3:8: spare is 'yes': write true or false"]
    assert "port is '010'" in refused(GOOD.replace("port: 1}", "port: 010}"))[0]


def test_byte_order_mark_and_windows_line_ends_are_taken() -> None:
    spec, _ = parse("\ufeff" + GOOD.replace("\n", "\r\n"), "f")
    assert spec.cluster == "c"


def vms(count: int) -> str:
    lines = (f"  v{i}: {{address: 10.0.{i >> 8}.{i & 255}, server: {{port: 3020}}}}\n" for i in range(count))
    return "cluster: c\nvms:\n" + "".join(lines)


LARGE = {
    "unknown keys": GOOD + "".join(f"unknown{i}: 1\n" for i in range(8000)),
    "one key again and again": GOOD + "store: x\n" * 8000,
    "one VM again and again": "cluster: c\nvms:\n" + "  a: {address: 127.0.0.1, router: {port: 1}}\n" * 8000,
    "more VMs than are taken": vms(10_000),
    "VMs that are all wrong": vms(4000).replace("address", "adress").replace("3020", "x"),
    "a chain of aliases": GOOD
    + "spare:\n"
    + "".join(f"  a{i}: &a{i} {{x: {f'*a{i - 1} ' if i else 1}}}\n" for i in range(5000)),
    "deep lists": "a: " + "[" * 500_000,
    "deep mappings": "a: " + "{a: " * 100_000,
    "a long list": "a: [" + "x," * 400_000 + "]",
    "words in one line": "cluster: " + "x " * 500_000,
    "a quoted line": 'cluster: "' + "x " * 500_000 + '"',
    "a long key": "x" * 900_000 + ": 1\n",
    "a long name of an alias": "cluster: *" + "a" * 900_000,
    "many anchors": "a: [" + "&a x," * 150_000 + "]",
    "a long number": "cluster: " + "9" * 900_000,
    "a long address": f"cluster: c\nvms: {{a: {{address: {'a-' * 400_000}, router: {{port: 1}}}}}}",
    "a long store": f"{GOOD}store: postgresql://{'a,' * 400_000}/x",
    "comments": "# x\n" * 250_000,
    "empty lines": "\n" * 1_000_000,
    "documents": "---\n" * 200_000,
    "tabs": "a:\n" + "\tb: 1\n" * 100_000,
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_a_large_file_is_refused_soon_and_briefly(text: str) -> None:
    begun_s = time.process_time()
    lines = refused(text)
    assert time.process_time() - begun_s < 5  # a protecting bound: quadratic ones took minutes
    assert 1 <= len(lines) <= SHOWN_MAX + 1
    assert all(line.startswith("f.yaml:") and len(line) < 400 for line in lines)


@pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="PyYAML without libyaml")
def test_libyaml_reads_what_pyyaml_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [GOOD, GOOD.replace("c\n", "ä 🎈\n"), "\ufeff" + GOOD, GOOD + "spare: yes\nx: &a {b: 1}\ny: *a\n"]
    by_hand = [tree.read(text) for text in texts]
    monkeypatch.setattr(tree, "WORDED_MAX", 0)
    assert [tree.read(text) for text in texts] == by_hand


@pytest.mark.parametrize("text", ["a: \x07", "\x00", "a: b\ud800", "a\x85\x9f", "# \ufffe"])
def test_a_character_that_yaml_lacks_is_reported_by_either_parser(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = refused(text)
    assert "is not allowed in YAML" in by_hand[0]
    monkeypatch.setattr(tree, "WORDED_MAX", 0)
    assert refused(text) == by_hand
