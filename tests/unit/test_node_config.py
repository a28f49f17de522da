"""``node.json``: read back as written, refused in words, and what a change of it restarts."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from snsnode.base.errors import ConfigError
from snsnode.base.ids import VmName
from snsnode.node.config import (
    _JSON_TYPES,
    FILENAME,
    Endpoint,
    KeepAlive,
    NodeConfig,
    Restart,
    RoleName,
    from_json,
    load,
    to_json,
)

CONFIG = NodeConfig(
    cluster="local",
    vm=VmName("vm2"),
    address="127.0.0.1",
    router_port=3010,
    server_port=3020,
    routers=(Endpoint(VmName("vm1"), "127.0.0.1", 3010), Endpoint(VmName("vm9"), "::1", 3010)),
    store="sqlite:///sns.db",
    selection="single",
    spare=True,
    keepalive=KeepAlive(3.0, 1.0, 9.0),
    restart=Restart(5, 10.0, 10.0),
)
ALL: set[RoleName] = {"router", "slave", "master"}


def test_what_is_written_is_read_back() -> None:
    for config in (CONFIG, dataclasses.replace(CONFIG, router_port=None, routers=())):
        assert from_json(to_json(config)) == config
        assert to_json(from_json(to_json(config))) == to_json(config)


def test_roles_start_in_their_order() -> None:
    assert CONFIG.roles == ("router", "slave", "master")
    assert dataclasses.replace(CONFIG, router_port=None).roles == ("slave", "master")
    assert dataclasses.replace(CONFIG, server_port=None).roles == ("router",)


def test_endpoints() -> None:
    assert CONFIG.endpoint("router").target == "127.0.0.1:3010"
    assert CONFIG.endpoint("master") == CONFIG.endpoint("slave")
    assert Endpoint(VmName("vm2"), "::1", 5).target == "[::1]:5"
    with pytest.raises(ConfigError, match="cannot run a master on vm2"):
        dataclasses.replace(CONFIG, server_port=None).endpoint("master")


@pytest.mark.parametrize(
    ("change", "restarted"),
    [
        ({"routers": ()}, set()),
        ({"keepalive": KeepAlive(2.0, 1.0, 9.0)}, ALL),
        ({"restart": Restart(6, 10.0, 10.0)}, {"slave", "master"}),
        ({"store": "sqlite:///other.db"}, {"slave", "master"}),
        ({"spare": False}, {"slave"}),
        ({"selection": "spread"}, {"router"}),
        ({"router_port": 3011}, {"router"}),
        ({"server_port": 3021}, {"slave", "master"}),
        ({"address": "127.0.0.2"}, ALL),
        ({"cluster": "other"}, ALL),
        ({"vm": VmName("vm3")}, ALL),
    ],
)
def test_a_change_restarts_exactly_those_whom_it_concerns(change: dict[str, Any], restarted: set[str]) -> None:
    changed = dataclasses.replace(CONFIG, **change)
    assert {role for role in ALL if changed.digest(role) != CONFIG.digest(role)} == restarted


def test_every_field_is_decided_on() -> None:
    """A new field changes all digests until somebody says whom it concerns, or is added above."""
    assert {field.name for field in dataclasses.fields(NodeConfig)} == {
        *("cluster", "vm", "address", "router_port", "server_port", "routers", "store", "selection", "spare"),
        *("keepalive", "restart"),
    }


def test_the_file_of_a_vm_is_loaded(tmp_path: Path) -> None:
    (tmp_path / FILENAME).write_text(to_json(CONFIG))
    assert load(tmp_path) == CONFIG


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; run 'snsctl generate' first"):
        load(tmp_path)


def _damaged() -> list[bytes]:
    raw = json.loads(to_json(CONFIG))
    variants: list[Any] = [
        *(None, 5, "text", [], {}),
        raw | {"format": 99},
        raw | {"more": 1},
        raw | {"routers": 5},
        raw | {"routers": [5]},
        raw | {"keepalive": None},
        raw | {"restart": {}},
        {key: value for key, value in raw.items() if key != "store"},
        raw | {"keepalive": raw["keepalive"] | {"interval_s": "x"}},
        raw | {"keepalive": raw["keepalive"] | {"timeout_s": None}},
        raw | {"restart": raw["restart"] | {"intensity": 1.5}},
        raw | {"restart": raw["restart"] | {"period_s": True}},
        raw | {"routers": [{"vm": "vm1", "address": "::1", "port": "3010"}]},
        raw | {"router_port": False},
        raw | {"server_port": "3020"},
        raw | {"spare": 1},
        *(raw | {key: 5} for key in ("cluster", "vm", "address", "store", "selection")),
    ]
    return [b"", b"{", b"\xff\xfe", *(json.dumps(variant).encode() for variant in variants)]


def test_every_field_is_of_a_known_type_or_a_part() -> None:
    parts = (tuple[Endpoint, ...], KeepAlive, Restart)
    for part in (Endpoint, KeepAlive, Restart, NodeConfig):
        for field in dataclasses.fields(part):
            assert field.type in _JSON_TYPES or field.type in parts, field


def test_whole_numbers_serve_as_seconds() -> None:
    raw = json.loads(to_json(CONFIG))
    raw["keepalive"]["interval_s"] = 3
    assert from_json(json.dumps(raw)) == CONFIG


@pytest.mark.parametrize("damaged", _damaged())
def test_a_damaged_file_is_refused_in_words(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / FILENAME).write_bytes(damaged)
    with pytest.raises(ConfigError, match="run 'snsctl generate' to write it anew"):
        load(tmp_path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / FILENAME).mkdir()
    with pytest.raises(ConfigError, match=r"cannot read .*node\.json: it is a folder; run 'snsctl generate'"):
        load(tmp_path)
