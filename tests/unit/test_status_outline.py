"""What ``status`` keeps of a spec between two calls."""

from pathlib import Path

import pytest

from snsnode.base.ids import VmName
from snsnode.control.outline import FILENAME, Outline, VmOutline, digest_of, keep, kept, outline_of
from snsnode.node.config import Endpoint
from snsnode.spec.parse import parse

SPEC = """
cluster: local
selection: spread
vms:
  vm1: {address: 127.0.0.1, router: {port: 3010}}
  vm2: {address: 127.0.0.2, server: {port: 3020}, router: {port: 3011}}
"""


def outline() -> Outline:
    return outline_of(parse(SPEC, "spec.yaml")[0])


def test_outline_has_what_status_asks_for() -> None:
    found = outline()
    assert (found.cluster, found.selection, found.separate_data) == ("local", "spread", False)
    assert found.vms[VmName("vm2")] == VmOutline("127.0.0.2", 3011, 3020)
    assert found.endpoints("master") == (Endpoint(VmName("vm2"), "127.0.0.2", 3020),)
    assert [endpoint.port for endpoint in found.endpoints("router")] == [3010, 3011]


def test_what_was_kept_is_found_by_its_digest(tmp_path: Path) -> None:
    assert kept(tmp_path, "one") is None
    keep(tmp_path, "one", outline())
    assert kept(tmp_path, "one") == outline()
    assert kept(tmp_path, "two") is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 1, "digest": "one", "outline": {"vms": 3}}'])
def test_a_damaged_file_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILENAME).write_text(text)
    assert kept(tmp_path, "one") is None


def test_without_a_home_nothing_is_kept(tmp_path: Path) -> None:
    keep(tmp_path / "nowhere", "one", outline())
    assert not (tmp_path / "nowhere").exists()


def test_every_edit_changes_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    assert digest_of(path) is None
    path.write_text(SPEC)
    before = digest_of(path)
    path.write_text(SPEC + "# a remark\n")
    assert before != digest_of(path) is not None
