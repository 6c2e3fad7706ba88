"""Parsed values to typed models, with errors that name fields and never show what they hold."""

from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from schemas.errors import DecodeError

_SHOWN = 3
_M = TypeVar("_M", bound=BaseModel)


def validate(model: type[_M], fields: dict[str, Any], wire: str) -> _M:
    """Check the fields. Raises `DecodeError` naming the first few that are wrong."""
    try:
        # What `model_validate` calls, without its handling of options: a fifth of a message's decoding.
        return cast("_M", model.__pydantic_validator__.validate_python(fields))
    except ValidationError as error:
        failure = _explain(error, wire)
    raise failure


def _explain(error: ValidationError, wire: str) -> DecodeError:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    told = [
        f"{_path(fault['loc'])}: {fault['msg'][:1].lower()}{fault['msg'][1:]}" for fault in faults[:_SHOWN]
    ]
    more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    path = _path(faults[0]["loc"])
    return DecodeError("; ".join(told).removeprefix(f"{path}: ") + more, wire=wire, path=path)


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "envelope"
