"""What ``generate`` decides to change."""

import json

import pytest

from snsnode.base.errors import ConfigError
from snsnode.base.ids import VmName
from snsnode.node import cluster
from snsnode.node.config import from_json
from snsnode.render import template
from snsnode.render.diff import diff
from snsnode.render.plan import RETIRED_TEXT, Change, plan
from snsnode.spec.model import Spec
from snsnode.spec.parse import parse

TEMPLATE = template.load()
THREE = """\
cluster: local
vms:
  vm1: {address: 127.0.0.1, router: {port: 3010}}
  vm2: {address: 127.0.0.1, server: {port: 3020}}
  vm3: {address: 127.0.0.1, router: {port: 3011}, server: {port: 3030}}
"""
TWO = "\n".join(THREE.splitlines()[:4])


def spec(text: str) -> Spec:
    return parse(text, "f")[0]


def home(text: str) -> dict[str, str]:
    return {change.path: change.after or "" for change in plan(spec(text), TEMPLATE, {})}


def changed(text: str, on_disk: dict[str, str], only: set[str] | None = None) -> dict[str, str | None]:
    names = None if only is None else {VmName(name) for name in only}
    return {change.path: change.after for change in plan(spec(text), TEMPLATE, on_disk, names)}


def test_new_home_gets_two_files_for_each_vm_and_one_more_beside_a_router() -> None:
    files = ("supervisord.conf", "node.json", "cluster.json")
    wanted = [f"vm{i}/{name}" for i in (1, 2, 3) for name in files]
    wanted.remove("vm2/cluster.json")
    assert list(home(THREE)) == wanted


def test_home_that_is_as_planned_needs_nothing() -> None:
    assert changed(THREE, home(THREE)) == {}


def test_node_json_holds_this_vm_and_every_router_in_the_order_of_the_spec() -> None:
    config = from_json(home(THREE)["vm3/node.json"])
    assert (config.cluster, config.vm, config.address) == ("local", "vm3", "127.0.0.1")
    assert (config.router_port, config.server_port) == (3011, 3030)
    assert [router.target for router in config.routers] == ["127.0.0.1:3010", "127.0.0.1:3011"]
    assert (config.keepalive.silence_s, config.restart.backoff_max_s) == (9.0, 10.0)


def test_router_is_told_of_every_server_and_router_of_the_spec() -> None:
    for name in ("vm1", "vm3"):
        file = cluster.from_json(home(THREE)[f"{name}/cluster.json"])
        assert [(server.vm, server.target) for server in file.servers] == [
            ("vm2", "127.0.0.1:3020"),
            ("vm3", "127.0.0.1:3030"),
        ]
        assert [router.target for router in file.routers] == ["127.0.0.1:3010", "127.0.0.1:3011"]
        assert (file.cluster, file.limits) == ("local", cluster.Limits())


def test_server_alone_has_the_file_for_a_limit_that_is_not_the_default_only() -> None:
    limited = THREE.replace("vms:", "limits: {memory: 512MiB}\nvms:")
    paths = changed(limited, home(THREE))
    assert set(paths) == {f"vm{i}/cluster.json" for i in (1, 2, 3)}
    file = cluster.from_json(paths["vm2/cluster.json"] or "")
    assert (file.limits.memory_bytes, file.servers, file.routers) == (512 * 2**20, (), ())
    back = changed(THREE, home(limited))
    assert back["vm2/cluster.json"] is None
    assert set(back) == set(paths)


@pytest.mark.parametrize(
    "edit",
    [
        ("3020", "3021"),
        ("cluster: local", "cluster: local\nkeepalive: {interval: 1s}"),
        ("cluster: local", "cluster: local\nstore: sqlite:///other.db"),
        ("cluster: local", "cluster: local\nrestart: {intensity: 9}"),
        ("127.0.0.1, server", "127.0.0.2, server"),
    ],
)
def test_edit_of_ports_times_or_store_leaves_supervisord_alone(edit: tuple[str, str]) -> None:
    paths = changed(THREE.replace(*edit), home(THREE))
    assert paths
    assert {path.partition("/")[2] for path in paths} <= {"node.json", "cluster.json"}


def test_changed_router_reaches_every_vm() -> None:
    paths = changed(THREE.replace("3010", "3012"), home(THREE))
    assert set(paths) == {*(f"vm{i}/node.json" for i in (1, 2, 3)), "vm1/cluster.json", "vm3/cluster.json"}


def test_vm_that_left_is_marked_and_keeps_its_files() -> None:
    on_disk = home(THREE)
    assert changed(TWO, on_disk) == {
        "vm1/node.json": home(TWO)["vm1/node.json"],  # vm3's router is gone
        "vm1/cluster.json": home(TWO)["vm1/cluster.json"],
        "vm2/node.json": home(TWO)["vm2/node.json"],
        "vm3/retired": RETIRED_TEXT,
    }
    assert RETIRED_TEXT.count("\n") == 1


def test_vm_that_is_marked_already_is_left_alone() -> None:
    assert changed(TWO, home(THREE) | home(TWO) | {"vm3/retired": RETIRED_TEXT}) == {}


def test_vm_that_comes_back_loses_its_mark() -> None:
    assert changed(THREE, home(THREE) | {"vm3/retired": RETIRED_TEXT}) == {"vm3/retired": None}


def test_only_touches_no_other_vm() -> None:
    assert set(changed(TWO, home(THREE), {"vm2"})) == {"vm2/node.json"}


def test_folder_without_a_configuration_is_nobodys() -> None:
    assert changed(TWO, home(TWO) | {"vm9/supervisord.conf": "x"}) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cluster": 1}', "[" * 100_000, "\udcff"])
def test_damaged_node_json_is_written_anew_but_claims_nothing(text: str) -> None:
    assert changed(TWO, home(TWO) | {"vm2/node.json": text, "vm9/node.json": text}) == {
        "vm2/node.json": home(TWO)["vm2/node.json"]
    }


@pytest.mark.parametrize("vm", ["vm2", "vm9"])
def test_home_of_another_cluster_is_refused(vm: str) -> None:
    with pytest.raises(ConfigError, match=f"{vm} in this home is of 'other'; give another --home"):
        changed(TWO, home(TWO) | {f"{vm}/node.json": json.dumps({"format": 99, "cluster": "other"})})


def shown(text: str, on_disk: dict[str, str]) -> str:
    return diff(plan(spec(text), TEMPLATE, on_disk), on_disk)


def test_diff_shows_a_new_vm_as_new_files() -> None:
    assert "--- /dev/null\n+++ vm3/node.json\n@@ -0,0 +1," in shown(THREE, home(TWO))


def test_diff_shows_a_changed_line() -> None:
    lines = shown(TWO.replace("3020", "3021"), home(TWO)).splitlines()
    assert [line for line in lines if line[0] in "+-"] == [
        "--- vm1/cluster.json",
        "+++ vm1/cluster.json",
        '-      "port": 3020',
        '+      "port": 3021',
        "--- vm2/node.json",
        "+++ vm2/node.json",
        '-  "server_port": 3020,',
        '+  "server_port": 3021,',
    ]


def test_diff_shows_a_retired_vm_as_a_removal() -> None:
    text = shown(TWO, home(THREE))
    assert "# vm3: no longer in the spec" in text
    assert "--- vm3/supervisord.conf\n+++ /dev/null\n" in text
    assert "--- vm3/node.json\n+++ /dev/null\n" in text
    assert "--- vm3/cluster.json\n+++ /dev/null\n" in text


def test_diff_says_that_a_vm_is_back() -> None:
    assert shown(THREE, home(THREE) | {"vm3/retired": RETIRED_TEXT}).startswith(
        "# vm3: in the spec again\n--- vm3/retired"
    )


def test_diff_is_empty_when_nothing_changes() -> None:
    assert shown(TWO, home(TWO)) == ""


def test_diff_shows_lost_line_ends_and_bytes_that_are_no_text() -> None:
    text = diff([Change("vm1/node.json", "a\udcff", "b\n")], {})
    assert "-a\ufffd\n\\ No newline at end of file\n+b\n" in text
