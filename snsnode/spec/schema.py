"""The JSON Schema that editors use while somebody writes a spec.

``python -m snsnode.spec.schema > conf/cluster.schema.json`` (``make schema``) writes it; a test compares.
"""

import json
import sys
from typing import Any

from snsnode.spec.model import Spec
from snsnode.spec.scalars import NAME_PATTERN


def schema_text() -> str:
    """Return the text of ``conf/cluster.schema.json``."""
    schema = _tidy(Spec.model_json_schema())
    schema["title"] = "snsnode cluster spec"
    # Any other name would match no pattern and pass unseen.
    vms = schema["properties"]["vms"]
    vms["patternProperties"] = {f"^{NAME_PATTERN}$": {"$ref": "#/$defs/Vm"}}
    vms["additionalProperties"] = False
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | schema, indent=2) + "\n"


def _tidy(schema: Any) -> Any:
    """Drop generated titles, and null, which a spec never takes: a key is left out instead."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        schema = {
            **options[0],
            **{key: value for key, value in schema.items() if key not in ("anyOf", "default")},
        }
    is_title = isinstance(schema.get("title"), str)
    return {key: _tidy(value) for key, value in schema.items() if not (key == "title" and is_title)}


if __name__ == "__main__":
    sys.stdout.write(schema_text())
