"""The published JSON Schema, and the specs that come with the product."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from snsnode.spec.parse import parse
from snsnode.spec.schema import schema_text

CONF = Path(__file__).parents[2] / "conf"
EXAMPLES = ("local.yaml", "cluster.example.yaml", "postgresql.yaml")
LOCAL: dict[str, Any] = yaml.safe_load((CONF / "local.yaml").read_text())


def faults(spec: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    return [error.message for error in validator.iter_errors(spec)]


def test_committed_schema_is_the_generated_one() -> None:
    assert (CONF / "cluster.schema.json").read_text() == schema_text(), "run: make schema"


def test_schema_is_a_schema_that_describes_every_key() -> None:
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for owner in (schema, *schema["$defs"].values()):
        assert owner["additionalProperties"] is False
        assert all("description" in described for described in owner["properties"].values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_valid_for_us_and_for_editors(name: str) -> None:
    text = (CONF / name).read_text()
    assert text.splitlines()[0] == "# yaml-language-server: $schema=cluster.schema.json"
    _, warnings = parse(text, name)
    assert warnings == ()
    assert faults(yaml.safe_load(text)) == []


def test_full_example_shows_every_key() -> None:
    shown = yaml.safe_load((CONF / "cluster.example.yaml").read_text())
    schema = json.loads(schema_text())
    assert set(shown) == set(schema["properties"])
    for key, name in (("keepalive", "KeepAlive"), ("restart", "Restart"), ("limits", "Limits")):
        assert set(shown[key]) == set(schema["$defs"][name]["properties"])


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"cluster": "Local"},
        {"store": "mysql://db"},
        {"spare": None},
        {"keepalive": {"interval": 3}},
        {"keepalive": {"interval": "3"}},
        {"restart": {"intensity": 0}},
        {"limits": {"memory": 1024}},
        {"limits": {"memory": "1GB"}},
        {"limits": {"memory": None}},
        {"vms": {}},
        {"vms": {"VM": {"address": "h", "router": {"port": 1}}}},
        {"vms": {"a": {"address": "h"}}},
        {"vms": {"a": {"router": {"port": 1}}}},
        {"vms": {"a": {"address": "h", "router": None}}},
        {"vms": {"a": {"address": "h", "router": {"port": 65536}}}},
    ],
)
def test_editor_sees_the_mistake(change: dict[str, Any]) -> None:
    assert faults(LOCAL) == []
    assert faults(LOCAL | change) != []
