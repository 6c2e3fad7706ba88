"""The JSON Schema of topology.yaml, for editors: what can be written, as it is written, and nothing not yet supported."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from workers.core.topology.model import Topology
from workers.core.topology.problems import Path
from workers.core.topology.unsupported import ANY, KEYS, MECHANISMS

_REFERENCE = {"type": "string", "pattern": r"^\$\{.+\}$"}
Schema = dict[str, Any]


@lru_cache(maxsize=1)
def model_schema() -> Schema:
    """The schema of the typed model, unsupported keys included."""
    return Topology.model_json_schema(by_alias=True)


def known_keys(path: Path, data: Any = None, base: Path = ()) -> set[str]:
    """The keys that the file may have at `path`; `data` is what is at `base` and tells which type a target has."""
    kind = data.get("type") if base[:1] == ("targets",) and isinstance(data, dict) else None
    keys: set[str] = set()
    for node in _nodes(model_schema(), path, kind):
        keys |= node.get("properties", {}).keys()
    return keys - {pattern[-1] for pattern, _ in KEYS if _fits(pattern[:-1], path)}


def editor_schema() -> Schema:
    """The schema to publish."""
    schema: Schema = orjson.loads(orjson.dumps(model_schema()))
    for pattern, _ in KEYS:
        for node in _nodes(schema, pattern[:-1], None):
            node.get("properties", {}).pop(pattern[-1], None)
    for node in _nodes(schema, ("kafka", "security", "mechanism"), None):
        if "enum" in node:
            node["enum"] = [name for name in node["enum"] if name not in MECHANISMS]
    _tidy(schema)
    _drop_unused(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Relayfleet topology",
    }


def render_schema() -> str:
    """`schemas/topology.schema.json`, byte for byte."""
    return orjson.dumps(editor_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _fits(pattern: Path, path: Path) -> bool:
    return len(pattern) == len(path) and all(
        wanted in (ANY, part) for wanted, part in zip(pattern, path, strict=True)
    )


def _nodes(root: Schema, path: Path, kind: str | None) -> list[Schema]:
    """The object schemas that describe `path`: several where the file may hold one of several kinds."""
    nodes = list(_alternatives(root, root, kind))
    for part in path:
        nodes = [
            found
            for node in nodes
            for child in _children(node, part)
            for found in _alternatives(root, child, kind)
        ]
    return nodes


def _children(node: Schema, part: str | int) -> Iterator[Schema]:
    if "items" in node and (isinstance(part, int) or part == ANY):
        yield node["items"]
    elif part in node.get("properties", {}):
        yield node["properties"][part]
    elif isinstance(node.get("additionalProperties"), dict):
        yield node["additionalProperties"]


def _alternatives(root: Schema, node: Schema, kind: str | None) -> Iterator[Schema]:
    """`node` with references followed, and each of what it may be one of."""
    if "$ref" in node:
        yield from _alternatives(root, root["$defs"][node["$ref"].rpartition("/")[2]], kind)
        return
    mapping = node.get("discriminator", {}).get("mapping", {})
    if kind in mapping:
        yield from _alternatives(root, {"$ref": mapping[kind]}, kind)
        return
    yield node
    for option in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _alternatives(root, option, kind)


def _tidy(node: Any) -> None:
    """For readers: no titles that repeat names, no whole sections as defaults; any value may come from `${NAME}`."""
    if isinstance(node, list):
        for inner in node:
            _tidy(inner)
    if not isinstance(node, dict):
        return
    for name in [name for name in node if _noise(name, node[name])]:
        del node[name]
    for inner in node.values():
        _tidy(inner)
    kind = node.get("type")
    if kind in ("integer", "number") or (kind == "string" and "enum" in node):
        own = {name: node.pop(name) for name in list(node) if name not in ("description", "default")}
        node["anyOf"] = [own, dict(_REFERENCE)]
    if "anyOf" in node:
        node["anyOf"] = _flat(node["anyOf"])


def _noise(name: str, value: Any) -> bool:
    # gt, ge and le are left where a text is allowed too: they say nothing to an editor
    return (name in ("title", "gt", "ge", "le", "min_length") and not isinstance(value, dict)) or (
        name == "default" and (value is None or isinstance(value, dict | list))
    )


def _flat(options: list[Schema]) -> list[Schema]:
    flat: list[Schema] = []
    for option in options:
        for inner in option["anyOf"] if option.keys() == {"anyOf"} else [option]:
            if inner not in flat:
                flat.append(inner)
    return flat


def _drop_unused(schema: Schema) -> None:
    """Definitions that only an unsupported key used."""
    text = orjson.dumps(schema).decode()
    schema["$defs"] = {name: node for name, node in schema["$defs"].items() if f'"#/$defs/{name}"' in text}
