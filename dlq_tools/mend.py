"""Changing what a dead letter says before it is replayed. The letter itself is never changed.

Every change works on the envelope as a JSON object; Avro is read and written as Avro again. What comes out must be an
envelope.
"""

import hashlib
import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jq
import orjson
from pydantic import ValidationError

from schemas import headers as h
from schemas.codec import decode_request, encode_request
from schemas.dead_letter import DeadLetter
from schemas.envelope import Request
from schemas.errors import DecodeError
from schemas.formats import WireFormat
from workers.core.errors import UsageError

Fields = dict[str, Any]
Change = Callable[[Fields], Fields | None]
"""From envelope to envelope; None leaves the message out. Raises `UsageError`, or whatever a user's own code raises."""

_SET, _JQ, _TRANSFORM = "set:", "jq:", "transform:"


def describe(sets: Sequence[str], expression: str | None, file: Path | None) -> tuple[str, ...]:
    """The changes as a job keeps them. A file is kept with its digest: resumed, the job must find the same one.

    Raises `UsageError` for a file that can't be read.
    """
    changes = [_SET + each for each in sets]
    if expression is not None:
        changes.append(_JQ + expression)
    if file is not None:
        changes.append(f"{_TRANSFORM}{_digest(file)}:{file.absolute()}")
    return tuple(changes)


def mender(changes: Sequence[str]) -> Callable[[DeadLetter], DeadLetter | None]:
    """One function that makes all these changes, in order. Raises `UsageError` for changes that can't be made at all."""
    steps = [_step(change) for change in changes]

    def mend(dead: DeadLetter) -> DeadLetter | None:
        if not steps:
            return dead
        fields, wire = envelope(dead)
        for change, step in zip(changes, steps, strict=True):
            try:
                changed = step(fields)
            except Exception as error:  # a user's own code raises anything
                raise UsageError(_failed(dead, change, error)) from error
            if changed is None:
                return None
            fields = changed
        return with_envelope(dead, fields, wire)

    return mend


def envelope(dead: DeadLetter) -> tuple[Fields, WireFormat]:
    """The letter's envelope as an object, valid or not, and its format. Raises `UsageError` where it is no object."""
    try:
        request, wire = decode_request(dead.value, dead.headers, received_ms=dead.timestamp_ms)
    except DecodeError as error:
        fields = _json(dead.value)
        if fields is None:
            raise UsageError(
                f"{dead.position} is no JSON object and can't be changed as one: {error}"
            ) from error
        return fields, WireFormat.JSON
    fields = _json(dead.value) if wire is WireFormat.JSON else None
    return fields if fields is not None else request.model_dump(mode="json", exclude_unset=True), wire


def with_envelope(dead: DeadLetter, fields: Fields, wire: WireFormat) -> DeadLetter:
    """The letter with this envelope, in the same format. Raises `UsageError` where it is none."""
    try:
        if wire is WireFormat.JSON:
            value, added = orjson.dumps(fields), {}
        else:
            encoded = encode_request(Request.model_validate(fields), wire)
            value, added = encoded.value, dict(encoded.headers)
        headers = h.with_headers(dead.headers, added)
        decode_request(value, headers)
    except (DecodeError, ValidationError, ValueError, TypeError) as error:
        reason = (
            "; ".join(each["msg"] for each in error.errors()) if isinstance(error, ValidationError) else error
        )
        raise UsageError(f"{dead.position} would be no envelope after this change: {reason}") from error
    return dead.model_copy(update={"value": value, "headers": headers})


def renewed(dead: DeadLetter, now: float) -> DeadLetter:
    """The letter as if it came now (epoch seconds): its `timestamp`, and as much time to its deadline as it had.

    The fleet counts a message's age from the envelope's own timestamp, and a header can only shorten that: so this
    changes the value. What can't be written again (a CloudEvent, what is no envelope) keeps its timestamp.
    """
    deadline = dead.deadline_ms
    if deadline is not None:
        given = deadline - dead.timestamp_ms
        deadline = round(now * 1000) + given if given > 0 else None
    moved = dead.model_copy(update={"deadline_ms": deadline})
    try:
        fields, wire = envelope(dead)
        return with_envelope(moved, {**fields, "timestamp": round(now, 3)}, wire)
    except UsageError:
        return moved


def _step(change: str) -> Change:
    if change.startswith(_SET):
        return _setting(change.removeprefix(_SET))
    if change.startswith(_JQ):
        return _program(change.removeprefix(_JQ))
    digest, _, path = change.removeprefix(_TRANSFORM).partition(":")
    return _transform(Path(path), digest)


def _setting(text: str) -> Change:
    path, equals, value = text.partition("=")
    names = path.split(".")
    if not equals or not all(names):
        raise UsageError(f"--set {text!r} is not of the form path.to.field=VALUE")
    try:
        wanted: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        wanted = value  # not JSON: the text itself

    def change(fields: Fields) -> Fields:
        place: Any = fields
        for name in names[:-1]:
            place = place.setdefault(name, {}) if isinstance(place, dict) else place[int(name)]
        if isinstance(place, dict):
            place[names[-1]] = wanted
        else:
            place[int(names[-1])] = wanted
        return fields

    return change


def _program(expression: str) -> Change:
    try:
        program = jq.compile(expression)
    except ValueError as error:
        raise UsageError(f"--jq {expression!r} does not compile: {error}") from error

    def change(fields: Fields) -> Fields | None:
        found = program.input_value(fields).all()
        if not found:
            return None
        if len(found) > 1 or not isinstance(found[0], dict):
            raise UsageError("it must give one object, or nothing to leave the message out")
        result: Fields = found[0]
        return result

    return change


def _transform(file: Path, digest: str) -> Change:
    if _digest(file) != digest:
        raise UsageError(f"{file} is not the same as when the job began; put it back, or begin a new job")
    try:
        transform = runpy.run_path(str(file)).get("transform")
    except Exception as error:  # a user's own code raises anything
        raise UsageError(f"{file} can't be loaded: {type(error).__name__}: {error}") from error
    if not callable(transform):
        raise UsageError(f"{file} defines no function `transform(envelope: dict) -> dict | None`")

    def change(fields: Fields) -> Fields | None:
        result = transform(fields)
        if result is not None and not isinstance(result, dict):
            raise UsageError(f"transform returned {type(result).__name__}, not a dict or None")
        return result

    return change


def _failed(dead: DeadLetter, change: str, error: Exception) -> str:
    kind = change.partition(":")[0]
    what = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
    return f"--{kind} failed for {dead.position} (message {dead.message_id or 'without id'}): {what}; nothing was sent"


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UsageError(f"can't read {file}: {error.strerror}") from error


def _json(value: bytes | None) -> Fields | None:
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def as_text(fields: Mapping[str, Any]) -> str:
    """An envelope as people edit it."""
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
