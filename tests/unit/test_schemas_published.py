"""The published schemas: what the models say, and compatible with the last released ones."""

import copy
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastavro
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.avsc import MODELS
from schemas.codec import Encoded, encode_chunk, encode_event, encode_request, encode_response
from schemas.codec.avro import unpack
from schemas.compatibility import breaking_changes
from schemas.envelope import Request
from schemas.events import LogEvent
from schemas.formats import WireFormat
from schemas.generate import HERE, json_schema, published
from tests.strategies import CHUNK, EVENT, JSON, REQUEST, RESPONSE

RELEASED = HERE / "released"
NAMES = sorted(MODELS)


def read(path: Path) -> dict[str, Any]:
    """A schema file."""
    parsed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return parsed


def test_the_files_on_disk_are_what_the_models_generate() -> None:
    files = published()
    on_disk = {name: (HERE / name).read_text(encoding="utf-8") for name in files}
    assert on_disk == files, "run: python -m schemas.generate"


def test_every_published_file_has_a_released_copy_to_be_compared_with() -> None:
    assert {path.name for path in RELEASED.iterdir()} == set(published())


@pytest.mark.parametrize("name", NAMES)
def test_every_object_stays_open_and_every_schema_has_a_version(name: str) -> None:
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:relayfleet:schema:{name}:1.0.0"
    assert schema["additionalProperties"] is True
    assert all(part.get("additionalProperties", True) is True for part in schema.get("$defs", {}).values())


REQUEST_VALIDATOR = jsonschema.Draft202012Validator(json_schema("request"))


@settings(max_examples=40)
@given(REQUEST)
def test_what_the_model_takes_the_json_schema_takes(fields: dict[str, Any]) -> None:
    REQUEST_VALIDATOR.validate(fields)
    Request.model_validate(fields)


FIELDS = ["message_id", "source", "payload", "timestamp"]
LOOKALIKES = st.sampled_from(["1", "1.5", True, 1, "true", "yes", [], [[]], {}])
INNER = ["text", "messages", "context", "model", "parameters", "user_id", "session_id", "stream"]


@settings(max_examples=60)
@given(
    REQUEST,
    st.sampled_from([(name,) for name in FIELDS] + [("payload", name) for name in INNER]),
    JSON | LOOKALIKES,
)
def test_model_and_json_schema_agree_on_what_is_wrong(
    fields: dict[str, Any], path: tuple[str, ...], value: Any
) -> None:
    target = copy.deepcopy(fields)
    inner = target if len(path) == 1 else target["payload"]
    inner[path[-1]] = value
    assert _model_takes(target) == REQUEST_VALIDATOR.is_valid(target)


def _model_takes(fields: dict[str, Any]) -> bool:
    try:
        Request.model_validate(fields)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_the_json_schema_breaks_nobody_who_uses_the_released_one(name: str) -> None:
    file = f"{name}.schema.json"
    assert breaking_changes(read(RELEASED / file), read(HERE / file)) == []


@settings(max_examples=25)
@given(REQUEST, RESPONSE, EVENT)
def test_avro_values_of_released_and_new_schemas_are_read_by_each_other(
    request: dict[str, Any], response: Any, event: dict[str, Any]
) -> None:
    values = {
        "request": encode_request(Request.model_validate(request), WireFormat.AVRO),
        "response": encode_response(response, WireFormat.AVRO),
        "log_event": encode_event(LogEvent.model_validate(event), WireFormat.AVRO),
    }
    _read_by_each_other(values)


@settings(max_examples=25)
@given(CHUNK)
def test_so_are_those_of_chunks(chunk: Any) -> None:
    _read_by_each_other({"chunk": encode_chunk(chunk, WireFormat.AVRO)})


def _read_by_each_other(values: Mapping[str, Encoded]) -> None:
    for name, encoded in values.items():
        new, released = PARSED[HERE / f"{name}.avsc"], PARSED[RELEASED / f"{name}.avsc"]
        known_to_old = _resolve(encoded.value, writer=new, reader=released)
        back = _resolve(_write(known_to_old, released), writer=released, reader=new)
        MODELS[name].model_validate(unpack(back, new, "avro"))


PARSED: dict[Path, Any] = {
    folder / f"{name}.avsc": fastavro.parse_schema(read(folder / f"{name}.avsc"), named_schemas={})
    for name in NAMES
    for folder in (HERE, RELEASED)
}


def _resolve(value: bytes, writer: Any, reader: Any) -> dict[str, Any]:
    datum = fastavro.schemaless_reader(io.BytesIO(value), writer, reader)
    assert isinstance(datum, dict)
    return datum


def _write(datum: dict[str, Any], schema: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema, datum)
    return stream.getvalue()


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (_object(a=STRING), _object(), "envelope.a: removed"),
        (_object(a=STRING), _object(a={"type": "integer"}), "envelope.a: no longer takes string"),
        (_object(a=STRING), {**_object(a=STRING), "required": ["a"]}, "envelope.a: newly required"),
        (
            _object(a={"anyOf": [STRING, {"type": "null"}]}),
            _object(a=STRING),
            "envelope.a: no longer takes null",
        ),
        (_object(a=STRING), _object(a={**STRING, "maxLength": 5}), "envelope.a: maxLength is tighter"),
        (
            _object(a={**STRING, "minLength": 1}),
            _object(a={**STRING, "minLength": 2}),
            "envelope.a: minLength is tighter",
        ),
        (
            _object(a={**STRING, "enum": ["x", "y"]}),
            _object(a={**STRING, "enum": ["x"]}),
            "envelope.a: fewer words are allowed",
        ),
        (_object(), {**_object(), "additionalProperties": False}, "envelope: unknown fields are refused"),
        (
            {
                **_object(a={"type": "array", "items": {"$ref": "#/$defs/M"}}),
                "$defs": {"M": _object(b=STRING)},
            },
            {**_object(a={"type": "array", "items": {"$ref": "#/$defs/M"}}), "$defs": {"M": _object()}},
            "envelope.a[].b: removed",
        ),
    ],
)
def test_a_breaking_change_is_found(old: dict[str, Any], new: dict[str, Any], said: str) -> None:
    assert breaking_changes(old, new) == [said]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (_object(a=STRING), _object(a=STRING, b=STRING)),
        (_object(a=STRING), _object(a={"anyOf": [STRING, {"type": "null"}]})),
        (_object(a={"type": "integer"}), _object(a={"type": "number"})),
        (_object(a={**STRING, "maxLength": 5}), _object(a={**STRING, "maxLength": 6})),
        (_object(a={**STRING, "enum": ["x"]}), _object(a={**STRING, "enum": ["x", "y"]})),
    ],
)
def test_a_change_that_only_widens_is_compatible(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert breaking_changes(old, new) == []
