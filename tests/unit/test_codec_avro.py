"""Avro: whose schema a value was written with, what other people's schemas may hold, and what is refused."""

import datetime as dt
import io
import tracemalloc
import uuid
from decimal import Decimal
from typing import Any

import fastavro
import pytest

from schemas.avsc import avro_schema
from schemas.codec import decode_request, encode_request
from schemas.codec.skim import MAX_ITEMS
from schemas.envelope import Request
from schemas.errors import DecodeError
from schemas.formats import WireFormat
from schemas.headers import Headers
from schemas.registry import AvroSchema, BundledSchemas, prepare

PLAIN: Headers = (("content-type", b"avro/binary"),)
REQUEST = Request.model_validate(
    {"message_id": "r1", "source": "web", "payload": {"text": "hi"}, "timestamp": 1.5}
)


class WithTheirs(BundledSchemas):
    """The bundled schemas and one of a producer's own, with id 900."""

    def __init__(self, theirs: dict[str, Any]) -> None:
        super().__init__()
        self._theirs = prepare(theirs)

    def by_id(self, schema_id: int) -> AvroSchema | None:
        """The producer's, or ours."""
        return self._theirs if schema_id == 900 else super().by_id(schema_id)


def record(name: str, **fields: Any) -> dict[str, Any]:
    """A record schema."""
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": key, "type": kind} for key, kind in fields.items()],
    }


def logical(kind: Any, name: str, **more: Any) -> dict[str, Any]:
    """A logical type."""
    return {**({"type": kind} if isinstance(kind, str) else kind), "logicalType": name, **more}


def envelope(payload: dict[str, Any], timestamp: Any = "double", **more: Any) -> dict[str, Any]:
    """The schema of an envelope with this payload."""
    return record(
        "Theirs", message_id="string", source="string", payload=payload, timestamp=timestamp, **more
    )


def written(schema: dict[str, Any], datum: dict[str, Any], schema_id: int = 900) -> bytes:
    """A framed value as any Avro serializer writes it."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema, named_schemas={}), datum)
    return b"\0" + schema_id.to_bytes(4, "big") + stream.getvalue()


def refused(value: bytes, headers: Headers = ()) -> DecodeError:
    """The error that this value is refused with."""
    with pytest.raises(DecodeError) as caught:
        decode_request(value, headers)
    return caught.value


def test_a_framed_value_is_told_by_its_first_byte_and_written_with_the_id_of_our_schema() -> None:
    value = encode_request(REQUEST, WireFormat.AVRO_REGISTRY).value
    assert value[:5] == b"\0" + BundledSchemas().id_of("request").to_bytes(4, "big")
    assert decode_request(value) == (REQUEST, WireFormat.AVRO_REGISTRY)
    assert decode_request(value, PLAIN) == (REQUEST, WireFormat.AVRO_REGISTRY)


@pytest.mark.parametrize(
    "content_type", [b"avro/binary", b"application/avro", b"Application/Avro; charset=x"]
)
def test_a_plain_value_is_told_by_its_content_type(content_type: bytes) -> None:
    value = encode_request(REQUEST, WireFormat.AVRO).value
    assert decode_request(value, (("content-type", content_type),)) == (REQUEST, WireFormat.AVRO)


def test_a_schema_of_the_producers_own_is_read_with_its_new_and_richer_fields() -> None:
    payload = record(
        "P",
        text="string",
        context=record(
            "C", price=logical("bytes", "decimal", precision=6, scale=2), day=logical("int", "date")
        ),
        trace=logical("string", "uuid"),
        blob="bytes",
        ratio="double",
        spare_parts={"type": "array", "items": "string"},
    )
    schema = envelope(payload, logical("long", "timestamp-millis"), tenant="string", extra="string")
    trace = uuid.UUID(int=7)
    value = written(
        schema,
        {
            "message_id": "r1",
            "source": "web",
            "timestamp": dt.datetime(2024, 5, 9, tzinfo=dt.UTC),
            "tenant": "acme",
            "extra": "not ours",
            "payload": {
                "text": "hi",
                "context": {"price": Decimal("4999.00"), "day": dt.date(2024, 5, 9)},
                "trace": trace,
                "blob": b"\xff",
                "ratio": float("nan"),
                "spare_parts": ["a"],
            },
        },
    )
    request = decode_request(value, (), WithTheirs(schema)).request
    assert request.timestamp == 1715212800
    assert request.__pydantic_extra__ == {"tenant": "acme", "extra": "not ours"}
    assert request.payload.context == {"price": "4999.00", "day": "2024-05-09"}
    assert request.payload.__pydantic_extra__ == {
        "trace": str(trace),
        "blob": "/w==",
        "ratio": None,
        "spare_parts": ["a"],
    }


@pytest.mark.parametrize("millis", [2**62, -(2**62), 253_402_300_800_000])
def test_a_time_that_no_calendar_has_is_refused(millis: int) -> None:
    payload = record("P", text="string")
    datum = {"message_id": "r1", "source": "w", "timestamp": millis, "payload": {"text": "hi"}}
    value = written(envelope(payload, "long"), datum)
    with pytest.raises(DecodeError):
        decode_request(value, (), WithTheirs(envelope(payload, logical("long", "timestamp-millis"))))


def test_json_text_in_a_context_field_is_checked_and_its_field_named() -> None:
    schema = envelope(record("P", context="string"))
    value = written(
        schema, {"message_id": "r1", "source": "w", "timestamp": 1.0, "payload": {"context": "{oops"}}
    )
    with pytest.raises(DecodeError, match=r"payload\.context: not JSON") as caught:
        decode_request(value, (), WithTheirs(schema))
    assert "oops" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "headers", "said"),
    [
        (b"\0\0\0\0\x7bxxxx", (), "unknown schema id 123"),
        (b"\1" + bytes(16) + b"x", (), "unknown schema GUID 00000000-0000-0000-0000-000000000000"),
        (b"\0\0\0", (), "takes 5 bytes, here are 3"),
        (b"\1abc", (), "takes 17 bytes, here are 4"),
        (b"x", (("__value_schema_id", b""),), "__value_schema_id: starts with neither 0"),
        (b"x", (("__value_schema_id", b"\2abc"),), "__value_schema_id: starts with neither 0"),
        (b"x", (("__value_schema_id", b"\0\0\0\0\1\1"),), "6 bytes where 5 are needed"),
        (b"", PLAIN, "truncated"),
        (b"\x04r", PLAIN, "truncated"),
        (b"\x02\xff", PLAIN, "invalid UTF-8"),
    ],
)
def test_references_and_values_that_make_no_sense_are_refused(
    value: bytes, headers: Headers, said: str
) -> None:
    assert said in str(refused(value, headers))


def test_every_truncation_and_every_surplus_is_refused() -> None:
    value = encode_request(REQUEST, WireFormat.AVRO).value
    for length in range(len(value)):
        refused(value[:length], PLAIN)
    error = refused(value + b"zz", PLAIN)
    assert "2 bytes are left over" in str(error)
    assert error.position == len(value)


@pytest.mark.parametrize("count", [2**62, 3_000_000])
def test_a_value_that_claims_or_holds_millions_of_records_takes_no_memory(count: int) -> None:
    head = encode_request(REQUEST, WireFormat.AVRO).value[:7] + b"\0\2"
    value = head + _varint(count) + b"\0\0\0\0" * min(count, 3_000_000)
    tracemalloc.start()
    try:
        error = refused(value, PLAIN)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert f"more than {MAX_ITEMS} items" in str(error)
    assert peak < 1_000_000


def _varint(number: int) -> bytes:
    rest, out = number << 1, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (record("R", next=["null", "R"]), "R inside itself"),
        (record("R", many={"type": "map", "values": {"type": "array", "items": "R"}}), "R inside itself"),
        (record("R", many={"type": "array", "items": "null"}), "items that take no bytes"),
        (record("R", many={"type": "array", "items": record("E", a="null")}), "items that take no bytes"),
        (
            record("R", a={"type": "fixed", "name": "F", "size": 0}, many={"type": "array", "items": "F"}),
            "no bytes",
        ),
        ({"type": "string"}, "not a record"),
        (record("R", a="nonsense"), "not an Avro schema"),
        ({"type": "record"}, "not an Avro schema"),
    ],
)
def test_schemas_that_a_few_bytes_could_exploit_are_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        prepare(schema)


def test_a_named_type_may_be_used_twice() -> None:
    inner = {"type": "record", "name": "I", "namespace": "x", "fields": [{"name": "a", "type": "int"}]}
    schema = prepare({**record("R", one=inner, two={"type": "array", "items": "x.I"}), "namespace": "y"})
    assert schema.name == "y.R"


def test_an_unknown_field_is_json_text_in_our_schema() -> None:
    request = REQUEST.model_copy(update={"tenant": {"id": 7}})
    value = encode_request(request, WireFormat.AVRO).value
    schema = fastavro.parse_schema(avro_schema(Request), named_schemas={})
    datum = fastavro.schemaless_reader(io.BytesIO(value), schema, None)
    assert isinstance(datum, dict)
    assert datum["extra"] == '{"tenant":{"id":7}}'
