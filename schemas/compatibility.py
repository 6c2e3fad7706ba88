"""Whether a new JSON Schema still takes every value that the old one took."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_UPPER = ("maxLength", "maximum", "maxItems")
_LOWER = ("minLength", "minimum", "minItems")

Schema = Mapping[str, Any]


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """What a producer of old values, or a reader who relies on their fields, would trip over. Empty: compatible."""
    return list(_compare(_resolved(old, old), _resolved(new, new), "envelope"))


def _resolved(schema: Any, root: Schema) -> Any:
    """The schema with its references replaced by what they refer to."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            return _resolved(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
        return {name: _resolved(value, root) for name, value in schema.items() if name != "$defs"}
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        return [_resolved(item, root) for item in schema]
    return schema


def _compare(old: Schema, new: Schema, path: str) -> Iterator[str]:
    before, after = _by_type(old), _by_type(new)
    for kind in before.keys() - after.keys() - ({"integer"} if "number" in after else set()):
        yield f"{path}: no longer takes {kind}"
    for kind in before.keys() & after.keys():
        yield from _compare_one(before[kind], after[kind], path)


def _by_type(schema: Schema) -> dict[str, Schema]:
    alternatives = schema.get("anyOf", [schema])
    return {alternative.get("type", "anything"): alternative for alternative in alternatives}


def _compare_one(old: Schema, new: Schema, path: str) -> Iterator[str]:
    yield from _compare_fields(old, new, path)
    for bound, tighter in [(name, min) for name in _UPPER] + [(name, max) for name in _LOWER]:
        if bound in new and (bound not in old or tighter(old[bound], new[bound]) != old[bound]):
            yield f"{path}: {bound} is tighter"
    if "enum" in new and ("enum" not in old or set(old["enum"]) - set(new["enum"])):
        yield f"{path}: fewer words are allowed"
    if old.get("additionalProperties", True) is not False and new.get("additionalProperties", True) is False:
        yield f"{path}: unknown fields are refused"
    if old.get("items"):
        yield from _compare(old["items"], new.get("items", {}), f"{path}[]")


def _compare_fields(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{path}.{name}: newly required"
    known = new.get("properties", {})
    for name, field in old.get("properties", {}).items():
        if name in known:
            yield from _compare(field, known[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}: removed"
