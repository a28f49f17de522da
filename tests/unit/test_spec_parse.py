"""From text to a spec, or to every problem at once."""

import re

import pytest
from pydantic import ValidationError

from snsnode.base.errors import EXIT_CONFIG
from snsnode.spec.parse import parse
from snsnode.spec.problems import SHOWN_MAX, SpecError

MINIMAL = """\
cluster: local
vms:
  vm1: {address: 127.0.0.1, router: {port: 3010}}
  vm2: {address: 127.0.0.1, server: {port: 3020}}
"""


def refused(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, "f.yaml")
    return caught.value.message.splitlines()


def places(text: str) -> list[str]:
    return [":".join(line.split(":")[1:3]) for line in refused(text)]


def test_defaults_are_those_of_the_contract() -> None:
    spec, warnings = parse(MINIMAL, "f")
    assert warnings == ()
    assert (spec.store, spec.selection, spec.spare, spec.separate_data) == (
        "sqlite:///sns.db",
        "single",
        True,
        False,
    )
    keepalive, restart = spec.keepalive, spec.restart
    assert (keepalive.interval_s, keepalive.timeout_s, keepalive.silence_s) == (3.0, 1.0, 9.0)
    assert (restart.intensity, restart.period_s, restart.backoff_max_s) == (5, 10.0, 10.0)


def test_vms_keep_the_order_of_the_file() -> None:
    text = "cluster: c\nvms:\n" + "".join(
        f"  {name}: {{address: h, router: {{port: {port}}}, server: {{port: {port + 1}}}}}\n"
        for name, port in (("z", 1), ("a", 3), ("m", 5))
    )
    assert list(parse(text, "f")[0].vms) == ["z", "a", "m"]


def test_spec_cannot_be_changed() -> None:
    spec, _ = parse(MINIMAL, "f")
    with pytest.raises(ValidationError):
        spec.cluster = "other"
    with pytest.raises(TypeError):
        spec.vms["vm3"] = spec.vms["vm1"]  # type: ignore[index]


MANY = """\
clutser: local
store: mysql://db/sns
selection: both
spare: 1
keepalive: {interval: 3, timeout: 2m}
restart:
  intensity: 0
  period: 2h
  backoff_max:
colour: red
vms:
  VM1: {address: 127.0.0.1, router: {port: 3010, host: x}}
  vm2: {adress: 0.0.0.0, server: {port: 70000}}
  vm3: {address: localhost, server: {port: 3010}}
  vm4: []
  vm5: {server: {port: true}}
  vm5: {address: 127.0.0.1, router: {port: 3010}}
  vm6: {address: 127.0.0.1}
"""


def test_every_problem_is_reported_at_once_in_the_order_of_the_file() -> None:
    expected = [
        (1, 1, "unknown key 'clutser': did you mean 'cluster'?"),
        (2, 8, "the store 'mysql' is not known: write sqlite:///PATH"),
        (3, 12, "selection is 'both': write single or spread"),
        (4, 8, "spare is 1: write true or false"),
        (5, 23, 'the duration 3 has no unit: write "3s"'),
        (5, 35, "2m is out of range: write a duration from 1ms to 1m"),
        (5, 35, "timeout is longer than interval (3s): write a timeout of at most 3s"),
        (7, 14, "intensity is 0: write a whole number from 1 to 10000"),
        (8, 11, "2h is out of range: write a duration from 1s to 1h"),
        (9, 3, "'backoff_max' has no value: write a duration such as 10s, or leave the key out"),
        (10, 1, "unknown key 'colour': the keys here are cluster, store, selection,"),
        (12, 3, "'VM1' is not a name"),
        (12, 50, "unknown key 'host': the keys here are port"),
        (13, 9, "unknown key 'adress': did you mean 'address'?"),
        (13, 17, "'0.0.0.0' is a wildcard"),
        (13, 41, "port is 70000: write a whole number from 1 to 65535"),
        (14, 44, "the server of vm3 takes localhost port 3010, and so does the router of VM1"),
        (15, 8, "vm4 is a list"),
        (16, 3, "the VM 'vm5' lacks 'address': write address: an IP address or a host name"),
        (16, 24, "port is true: write a whole number"),
        (17, 3, "'vm5' is written twice, first in line 16"),
        (17, 44, "the router of vm5 (again) takes 127.0.0.1 port 3010, and so does the router of VM1"),
        (18, 3, "the VM 'vm6' holds neither a router nor a server"),
    ]
    lines = refused(MANY)
    found = [re.fullmatch(r"f\.yaml:(\d+):(\d+): (.*)", line) for line in lines]
    assert [(int(m[1]), int(m[2])) for m in found if m] == [(line, column) for line, column, _ in expected]
    for (_, _, words), line in zip(expected, lines, strict=True):
        assert words in line


def test_error_exits_as_a_bad_configuration() -> None:
    with pytest.raises(SpecError) as caught:
        parse("cluster: c", "f")
    assert caught.value.exit_code == EXIT_CONFIG


@pytest.mark.parametrize("key", ["cluster", "vms"])
def test_required_key_is_missed(key: str) -> None:
    text = "cluster: c\n" if key == "vms" else MINIMAL.split("\n", 1)[1]
    lines = refused(text)
    assert len(lines) == 1
    assert lines[0].startswith(f"f.yaml:1:1: the spec lacks {key!r}: write {key}: ")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("cluster: local", "cluster: local\nstore:", "store"),
        ("cluster: local", "cluster:", "cluster"),
        ("{port: 3020}", "", "server"),
        ("3020", "", "port"),
        ("cluster: local", "cluster: local\nkeepalive:", "keepalive"),
        ("cluster: local", "cluster: local\nkeepalive: {interval: null}", "interval"),
    ],
)
def test_key_without_a_value_is_reported_once(old: str, new: str, key: str) -> None:
    lines = refused(MINIMAL.replace(old, new))
    assert len(lines) == 1
    assert f"{key!r} has no value: write " in lines[0]


@pytest.mark.parametrize(
    ("key", "place", "words"),
    [
        ("1: {}", "5:3", "'1' is not a name"),
        ("true: {}", "5:3", 'the key true is not a text: write "true" in quotes'),
        ("[a]: {}", "5:3", "a key is a list: write a word"),
        ("{a: b}: {}", "5:3", "a key is a mapping: write a word"),
    ],
)
def test_key_that_is_no_text_is_reported(key: str, place: str, words: str) -> None:
    assert any(line.startswith(f"f.yaml:{place}: ") and words in line for line in refused(f"{MINIMAL}  {key}\n"))


MERGE = "merge keys (<<) are not supported: write the keys out here"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("  vm3: {<<: {address: h}, server: {port: 1}}\n", "5:9"),
        ("  vm3:\n    <<: *d\n", "6:5"),
        ("  vm3: {<<: *d, <<: *d }\n", "5:9"),
        ("  vm3: {address: 127.0.0.2, server: {<<: *d }}\n", "5:38"),
        ("  <<: *d\n", "5:3"),
        ("keepalive: {<<: *d, interval: 20s}\n", "5:13"),
        ("<<: *d\n", "5:1"),
    ],
)
def test_merge_key_is_one_problem_and_hides_no_other(text: str, place: str) -> None:
    """What the mapping lacks would have come with the merge: to say so as well is noise."""
    spec = MINIMAL.replace("address: 127.0.0.1", "address: &d 127.0.0.1", 1)
    assert refused(spec + text) == [f"f.yaml:{place}: {MERGE}"]
    assert len(refused(spec + text + "nonsense: 1\n")) == 2


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("restart: {intensity: 10000, period: 1h, backoff_max: 5m}", True),
        ("restart: {intensity: 1, period: 1s, backoff_max: 100ms}", True),
        ("restart: {intensity: 10001}", False),
        ("restart: {period: 999ms}", False),
        ("restart: {period: 3601s}", False),
        ("restart: {backoff_max: 99ms}", False),
        ("restart: {backoff_max: 301s}", False),
        ("keepalive: {interval: 100ms, timeout: 100ms, silence: 200ms}", True),
        ("keepalive: {interval: 1m, timeout: 1m, silence: 2m}", True),
        ("keepalive: {interval: 99ms, timeout: 1ms}", False),
        ("keepalive: {interval: 61s, silence: 1h}", False),
        ("keepalive: {timeout: 0s}", False),
        ("separate_data: true", True),
        ("separate_data: 'true'", False),
        ("selection: spread", True),
        ("spare: false", True),
    ],
)
def test_bounds_are_inclusive(line: str, fits: bool) -> None:
    if fits:
        parse(f"{MINIMAL}{line}\n", "f")
    else:
        assert places(f"{MINIMAL}{line}\n")[0].startswith("5:")


@pytest.mark.parametrize(
    ("port", "fits"), [("1", True), ("32767", True), ("0", False), ("65536", False), ("-1", False)]
)
def test_port_is_bounded(port: str, fits: bool) -> None:
    text = MINIMAL.replace("3020", port)
    if fits:
        assert parse(text, "f")[1] == ()
    else:
        assert places(text) == ["4:44"]


@pytest.mark.parametrize("port", ["'3020'", "3020.0", "3_020", "0xbcc", "yes", "[3020]", "9" * 5000])
def test_port_of_another_type_is_refused(port: str) -> None:
    assert places(MINIMAL.replace("3020", port)) == ["4:44"]


def test_high_port_is_a_warning_beside_the_model() -> None:
    spec, warnings = parse(MINIMAL.replace("3020", "32768"), "f.yaml")
    assert spec.vms[list(spec.vms)[1]].server is not None
    assert [warning.line("f.yaml")[:24] for warning in warnings] == ["f.yaml:4:44: warning: po"]


def test_thousands_of_problems_do_not_bury_the_first() -> None:
    lines = refused("".join(f"x{i}: 1\n" for i in range(1000)))
    assert len(lines) == SHOWN_MAX + 1
    assert lines[-1].startswith("f.yaml: and ")


@pytest.mark.parametrize("key", ["vms", "restart", "spare", "limits"])
def test_key_that_is_written_again_without_a_value_is_reported(key: str) -> None:
    lines = refused(f"{MINIMAL}{key}: \n{key}: \n{key}:\n")
    assert any(f"'{key}' is written twice" in line for line in lines)
    assert any("has no value" in line for line in lines)
