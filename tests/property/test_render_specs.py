"""Whatever spec is valid renders to files that supervisor reads, and to the same bytes every time."""

import json
from typing import Any

import jsonschema
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from snsnode.node.config import from_json
from snsnode.render import readback, template
from snsnode.render.plan import plan
from snsnode.spec.parse import parse
from snsnode.spec.problems import SpecError
from snsnode.spec.schema import schema_text

TEMPLATE = template.load()
EDITOR = jsonschema.Draft202012Validator(json.loads(schema_text()))

names = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True) | st.sampled_from(
    ["no", "on", "null", "true", "a--"]
)
unicast = st.ip_addresses().filter(lambda ip: not ip.is_multicast and not ip.is_unspecified).map(str)
odd_hosts = st.sampled_from(["localhost", "db-1.example.com", "10x.de", "a", "::1", "x--y.z.", "::ffff:10.0.0.1"])
hosts = unicast.filter(lambda ip: ip != "255.255.255.255" and not ip.startswith("::ffff:")) | odd_hosts
stores = ("sqlite:///a%b;c-[d].db", "sqlite:////x/%(here)s/z", "postgresql://u%40@h,[::1]:5/d")


@st.composite
def cluster_specs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid spec: ports are drawn without repetition, and the first VM holds both roles."""
    vms: dict[str, Any] = {}
    ports = draw(st.lists(st.integers(1, 65535), min_size=10, max_size=10, unique=True))
    for name in draw(st.lists(names, min_size=1, max_size=5, unique=True)):
        roles = (
            draw(st.sampled_from([("router",), ("server",), ("router", "server")]))
            if vms
            else ("server", "router")
        )
        vms[name] = {"address": draw(hosts)} | {role: {"port": ports.pop()} for role in roles}
    interval_ms = draw(st.integers(100, 60_000))
    extras: dict[str, Any] = {
        "store": draw(st.sampled_from(stores)),
        "selection": draw(st.sampled_from(["single", "spread"])),
        "spare": draw(st.booleans()),
        "keepalive": {
            "interval": f"{interval_ms}ms",
            "timeout": f"{draw(st.integers(1, interval_ms))}ms",
            "silence": f"{draw(st.integers(2 * interval_ms, 3_600_000))}ms",
        },
        "restart": {"intensity": draw(st.integers(1, 10_000)), "period": f"{draw(st.integers(1, 60))}m"},
    }
    chosen = draw(st.sets(st.sampled_from(sorted(extras))))
    spec = {"cluster": draw(names), "separate_data": True, "vms": vms}
    return spec | {key: extras[key] for key in sorted(chosen)}


@settings(deadline=None, derandomize=True, max_examples=150)
@given(cluster_specs())
def test_valid_spec_renders_to_files_that_supervisor_reads(raw: dict[str, Any]) -> None:
    spec, _ = parse(yaml.safe_dump(raw, sort_keys=False), "f")
    assert EDITOR.is_valid(raw)
    changes = plan(spec, TEMPLATE, {})
    assert changes == plan(spec, TEMPLATE, {})
    readback.check_changes(spec, changes)
    written = {change.path: change.after or "" for change in changes}
    assert plan(spec, TEMPLATE, written) == ()
    assert {path.partition("/")[0] for path in written} == set(raw["vms"])
    for name, vm in raw["vms"].items():
        config = from_json(written[f"{name}/node.json"])
        assert config.address == vm["address"]
        assert [router.vm for router in config.routers] == [n for n, v in raw["vms"].items() if "router" in v]


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.text(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(max_size=9), st.lists, max_leaves=8).map(str)
)
def test_any_text_gives_a_spec_or_problems(text: str) -> None:
    try:
        parse(text, "f")
    except SpecError as error:
        assert error.problems
        assert all(problem.mark.line >= 1 and problem.mark.column >= 1 for problem in error.problems)


keys = st.sampled_from(
    ["cluster", "vms", "router", "port", "address", "keepalive", "interval", "vm1", "x", 1, None, True]
)
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["3s", "127.0.0.1", "a", "", "\t"])
)
trees = st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=4) | st.lists(inner, max_size=2))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.dictionaries(st.sampled_from(["cluster", "vms", "keepalive", "restart", "store", "spare", "z"]), trees))
def test_any_tree_gives_a_spec_or_problems(raw: dict[str, Any]) -> None:
    try:
        parse(yaml.safe_dump(raw), "f")
    except SpecError as error:
        assert error.problems
