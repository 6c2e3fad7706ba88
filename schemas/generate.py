"""Writes the published schemas from the typed models: `python -m schemas.generate`."""

import json
import sys
from pathlib import Path
from typing import Any

from schemas.avsc import MODELS, VERSION, avro_schema

HERE = Path(__file__).parent


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a model."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:relayfleet:schema:{name}:{VERSION}",
        **MODELS[name].model_json_schema(),
    }


def published() -> dict[str, str]:
    """File names and what they hold."""
    files: dict[str, Any] = {}
    for name, model in MODELS.items():
        files[f"{name}.schema.json"] = json_schema(name)
        files[f"{name}.avsc"] = avro_schema(model)
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in files.items()}


def main() -> None:
    """Write the files beside this module."""
    for name, text in published().items():
        (HERE / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{HERE / name}\n")


if __name__ == "__main__":
    main()
