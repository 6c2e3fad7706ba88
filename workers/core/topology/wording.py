"""What pydantic found wrong, as faults with our paths and words. Values are never repeated: they may be secret."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from workers.core.topology.editor_schema import known_keys
from workers.core.topology.problems import Fault, Path, did_you_mean

_TYPES = {
    "model_type": "must be a mapping of keys and values",
    "model_attributes_type": "must be a mapping of keys and values",
    "dict_type": "must be a mapping of keys and values",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "string_unicode": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
}
_BOUNDS = {
    "greater_than": ("must be greater than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be less than", "lt"),
    "less_than_equal": ("must be at most", "le"),
}


def faults_of(errors: Sequence[ErrorDetails], data: Any, base: Path = ()) -> list[Fault]:
    """One fault a wrong field. `data` is what was validated, `base` where it is in the file."""
    faults = [(error["type"], _fault(error, data, base)) for error in errors]
    wrong_inside = {fault.path[:length] for _, fault in faults for length in range(len(fault.path))}
    # pydantic does not count the items that are wrong, and then finds a list too short.
    return [fault for kind, fault in faults if kind != "too_short" or fault.path not in wrong_inside]


def data_path(location: Sequence[str | int], data: Any) -> Path:
    """The part of pydantic's location that is in the data, and the missing or unknown key at its end."""
    path: list[str | int] = []
    for part in location:
        if isinstance(data, Mapping):
            if part not in data and part == data.get("type"):
                continue  # pydantic's mark for which of several kinds it is
            path.append(part)
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            path.append(part)
            data = data[part]
    return tuple(path)


def _fault(error: ErrorDetails, data: Any, base: Path) -> Fault:
    path = (*base, *data_path(error["loc"], data))
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "extra_forbidden":
        return Fault(
            path, "unknown key", did_you_mean(str(path[-1]), known_keys(path[:-1], data, base)), at_key=True
        )
    if kind == "missing":
        return Fault(path, "is missing", at_key=True)
    if kind == "union_tag_not_found":
        return Fault((*path, "type"), "is missing", "say `type: openai` or `type: sql`", at_key=True)
    if kind == "union_tag_invalid":
        known = [name.strip("'") for name in context["expected_tags"].split(", ")]
        return Fault((*path, "type"), "no such type of target", did_you_mean(str(context["tag"]), known))
    return Fault(path, *_wrong_value(kind, error, context))


def _wrong_value(kind: str, error: ErrorDetails, context: Mapping[str, Any]) -> tuple[str, str | None]:
    if kind == "value_error":
        return str(context["error"]), None
    if kind in ("literal_error", "enum"):
        known = [name.strip("'") for name in context["expected"].replace(" or ", ", ").split(", ")]
        return f"must be one of {', '.join(known)}", None
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"{words} {context[bound]:g}", None
    if kind == "too_short":
        return "must not be empty", "leave the key out, or give it something"
    if kind == "string_type" and isinstance(error["input"], int | float):
        return "must be text, and this reads as another type", "put it in quotes"
    return _TYPES.get(kind, error["msg"]), None
