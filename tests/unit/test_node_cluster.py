"""``cluster.json``: read back as written; whatever else stands there is told and leaves the defaults."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from snsnode.base.ids import VmName
from snsnode.node import config as node
from snsnode.node.cluster import (
    ENDPOINTS_MAX,
    FILE_BYTES_MAX,
    FILENAME,
    MEMORY_MAX_BYTES,
    MEMORY_MIN_BYTES,
    ClusterFile,
    Limits,
    canonical,
    from_json,
    load,
    neighbours,
    to_json,
)
from snsnode.node.config import Endpoint
from snsnode.spec.model import VMS_MAX, Spec
from tests.unit.test_node_config import CONFIG

FILE = ClusterFile(
    cluster="local",
    servers=(Endpoint(VmName("vm2"), "127.0.0.1", 3020), Endpoint(VmName("vm3"), "vm3.example.com", 3030)),
    routers=(Endpoint(VmName("vm1"), "::1", 3010),),
    limits=Limits(512 * 2**20),
    found=True,
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    (tmp_path / FILENAME).write_text(to_json(FILE))
    assert load(tmp_path) == FILE


def test_missing_file_is_nothing_to_tell(tmp_path: Path) -> None:
    assert load(tmp_path) == ClusterFile()
    assert not load(tmp_path).found
    assert load(tmp_path).limits.memory_bytes == 2**30


def test_keys_of_a_newer_version_are_ignored() -> None:
    raw = json.loads(to_json(FILE))
    raw |= {"more": {"x": 1}, "limits": raw["limits"] | {"other": 5}}
    raw["servers"][0]["more"] = 1
    assert from_json(json.dumps(raw)) == FILE


def _damaged() -> list[bytes]:
    raw = json.loads(to_json(FILE))
    server = raw["servers"][0]
    wrong: list[Any] = [None, 5, {}, [5], [[]], [{}]]
    sizes: list[Any] = [None, True, 1.5, "1GiB", 0, -1, MEMORY_MIN_BYTES - 1, MEMORY_MAX_BYTES + 1, 2**200]
    addresses: list[Any] = [None, 5, "", "a b", "x" * 256, "\x1b[2J"]
    ports: list[Any] = [None, 0, 65536, 1.5, True, "3020", 2**62]
    formats: list[Any] = [0, 2, True, None, "1"]
    variants: list[Any] = [
        *(None, 5, "text", [], {}),
        *(raw | {"format": value} for value in formats),
        *(raw | {"cluster": value} for value in (None, 5, "", "UPPER", "x" * 33)),
        *(raw | {key: value} for key in ("servers", "routers") for value in wrong),
        raw | {"servers": [server, server]},
        *(raw | {"servers": [server | {"vm": value}]} for value in (None, 5, "../x", "a\nb", "")),
        *(raw | {"servers": [server | {"address": value}]} for value in addresses),
        *(raw | {"servers": [server | {"port": value}]} for value in ports),
        *(raw | {"limits": value} for value in wrong[:2]),
        *(raw | {"limits": {"memory_bytes": value}} for value in sizes),
        raw | {"servers": [server | {"vm": f"a{number}"} for number in range(ENDPOINTS_MAX + 1)]},
    ]
    return [
        *(b"", b"{", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 100_000, b'{"format": NaN}', b"9" * 10_000),
        b" " * (FILE_BYTES_MAX + 1),
        *(json.dumps(variant).encode() for variant in variants),
    ]


@pytest.mark.parametrize("damaged", _damaged(), ids=lambda damaged: repr(damaged[:20]))
def test_damaged_file_is_told_in_one_line_and_leaves_the_defaults(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / FILENAME).write_bytes(damaged)
    file = load(tmp_path)
    assert dataclasses.replace(file, problem="") == ClusterFile()
    assert file.problem.startswith(f"cannot read {tmp_path / FILENAME}: ")
    assert file.problem.endswith("run 'snsctl generate' to write it anew")
    assert file.problem.isprintable() and len(file.problem) < 500


def test_what_is_no_file_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILENAME)
    assert "it is a pipe" in load(tmp_path).problem
    (tmp_path / FILENAME).unlink()
    (tmp_path / FILENAME).mkdir()
    assert load(tmp_path).problem == (
        f"cannot read {tmp_path / FILENAME}: it is a folder; run 'snsctl generate' to write it anew"
    )


def test_largest_cluster_fits_into_the_file() -> None:
    servers = tuple(Endpoint(VmName(f"a{number:031d}"), "h" * 253, 65535) for number in range(ENDPOINTS_MAX))
    text = to_json(dataclasses.replace(FILE, servers=servers, routers=servers))
    assert len(text) < FILE_BYTES_MAX
    assert from_json(text).servers == servers


def test_spec_and_file_have_the_same_bounds_and_defaults() -> None:
    assert VMS_MAX == ENDPOINTS_MAX
    spec = Spec.model_validate({"cluster": "a", "vms": {"b": {"address": "h", "router": {"port": 1}}}})
    assert spec.limits.memory_bytes == Limits().memory_bytes


def test_neighbours_are_the_servers_of_this_cluster_in_this_home(tmp_path: Path) -> None:
    def write(name: str, config: node.NodeConfig) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / node.FILENAME).write_text(node.to_json(config))
        return folder

    mine = write("vm2", CONFIG)
    write("vm1", dataclasses.replace(CONFIG, vm=VmName("vm1"), server_port=None))
    write("vm3", dataclasses.replace(CONFIG, vm=VmName("vm3"), cluster="other"))
    write("vm4", dataclasses.replace(CONFIG, vm=VmName("vm9")))
    (write("vm5", dataclasses.replace(CONFIG, vm=VmName("vm5"))) / "retired").touch()
    write("vm6", dataclasses.replace(CONFIG, vm=VmName("vm6"), server_port=3060))
    (tmp_path / "vm7").mkdir()
    (tmp_path / "vm7" / node.FILENAME).write_text("{broken")
    assert [(each.vm, each.port) for each in neighbours(mine, "local")] == [("vm2", 3020), ("vm6", 3060)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:0::1", "2001:DB8::1"),
        ("VM3.example.com.", "vm3.EXAMPLE.com"),
    ],
)
def test_spellings_of_one_address_are_one(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)
