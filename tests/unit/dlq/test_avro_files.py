"""Avro of other systems, read with the operator's own schema files."""

import io
import uuid
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlq_tools.avro_files import NONE, AvroFiles, load
from dlq_tools.filling import fill, open_index
from dlq_tools.index import Index
from dlq_tools.reading import content, indexed
from dlq_tools.show import letter
from dlq_tools.where import parse
from schemas.codec import encode_request
from schemas.envelope import Request
from schemas.formats import WireFormat
from schemas.headers import Headers
from schemas.registry import prepare
from tests.unit.dlq.letters import CONNECT, TOPIC, record
from tests.unit.dlq.test_filling import Kafka
from workers.core.errors import UsageError
from workers.core.records import Outgoing

ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [{"name": "id", "type": "long"}, {"name": "payload", "type": "string"}],
}
OTHER = {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "boolean"}]}
GUID = uuid.UUID(int=7)
PLACED = {"id": 7, "payload": "no JSON at all"}


def avro(schema: dict[str, Any] = ORDER, datum: Any = PLACED) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), datum)
    return stream.getvalue()


def framed(number: int = 42) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + avro()


def file(folder: Path, name: str, schema: object = ORDER) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(orjson.dumps(schema))
    return str(path)


@pytest.fixture
def order(tmp_path: Path) -> AvroFiles:
    return load([file(tmp_path, "order.avsc")])


@pytest.mark.parametrize(
    "value",
    [framed(), framed(1), b"\x01" + GUID.bytes + avro(), avro()],
    ids=["id", "our id", "GUID", "plain"],
)
def test_a_value_is_read_with_the_schema_that_was_given(order: AvroFiles, value: bytes) -> None:
    assert content(value, (), order) == ("avro", PLACED)


def test_an_id_in_a_header_is_read_too(order: AvroFiles) -> None:
    assert content(avro(), (("__value_schema_id", framed()[:5]),), order) == ("avro", PLACED)


def test_schemas_that_are_named_by_id_are_for_that_id_alone(tmp_path: Path) -> None:
    file(tmp_path / "schemas", "42.avsc")
    file(tmp_path / "schemas", f"{GUID}.avsc")
    for named in (
        [str(tmp_path / "schemas")],
        [f"42={file(tmp_path, 'a.avsc')}", f"{GUID}={file(tmp_path, 'b.avsc')}"],
    ):
        schemas = load(named)
        assert content(framed(42), (), schemas).data == PLACED
        assert content(b"\x01" + GUID.bytes + avro(), (), schemas).data == PLACED
        assert content(framed(43), (), schemas).format == "binary"


def test_of_several_schemas_the_one_that_accounts_for_every_byte_is_taken(tmp_path: Path) -> None:
    file(tmp_path / "schemas", "a.avsc", OTHER)
    file(tmp_path / "schemas", "b.avsc")
    assert content(framed(), (), load([str(tmp_path / "schemas")])).data == PLACED


def test_everything_else_reads_as_before(order: AvroFiles) -> None:
    fields = {"message_id": "m", "source": "s", "timestamp": 1.0, "payload": {"text": "hi"}}
    ours = encode_request(Request.model_validate(fields), WireFormat.AVRO_REGISTRY)
    values: list[tuple[bytes | None, Headers]] = [
        (b'{"a": 1}', ()),
        (b"plain text", ()),
        (None, ()),
        (b"", ()),
        (ours.value, tuple((name, text.encode()) for name, text in ours.headers.items())),
    ]
    for value, headers in values:
        assert content(value, headers, order) == content(value, headers)


def test_without_a_schema_there_are_bytes(order: AvroFiles) -> None:
    assert load([]) == NONE
    shown = letter(record(framed(), CONNECT), reveal=True)
    assert (shown["format"], shown["value"]) == ("binary", f"0x{framed().hex()}")
    shown = letter(record(framed(), CONNECT), order, reveal=True)
    assert (shown["format"], shown["value"]) == ("avro", PLACED)
    assert letter(record(framed(), CONNECT), order, reveal=False)["value"] == {
        "id": "‹number›",
        "payload": "‹14 characters›",
    }


@given(st.binary(max_size=80))
def test_no_bytes_can_break_it(data: bytes) -> None:
    schemas = AvroFiles({7: prepare(ORDER)}, (prepare(OTHER), prepare(ORDER)), "x")
    content(b"\0\0\0\0\x07" + data, (), schemas)
    content(data, (("__value_schema_id", data),), schemas)


async def test_the_fields_of_such_values_can_be_asked_for(order: AvroFiles, tmp_path: Path) -> None:
    kafka = Kafka()
    kafka.broker.append(Outgoing(TOPIC, None, framed(), CONNECT, 0))
    plain = await open_index(kafka.admin, tmp_path, TOPIC)
    read = await open_index(kafka.admin, tmp_path, TOPIC, schemas=order)
    for index in (plain, read):
        await fill(index, kafka.admin, kafka.open_reader)
    assert _found(plain) == 0
    assert _found(read) == 1
    assert plain.path != read.path  # going from one to the other reads nothing again
    assert indexed(record(framed()), order).format == "avro"


def _found(index: Index) -> int:
    return len(index.select(parse("value.id = 7")))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("nowhere.avsc", "can't be read: No such file"),
        ("order.json", "give FILE.avsc"),
        ("bad.avsc", "is no JSON"),
        ("list.avsc", "not an Avro schema|not a record"),
        ("empty", "no file in this folder"),
    ],
)
def test_what_is_no_schema_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.avsc").write_text("{")
    (tmp_path / "list.avsc").write_text('{"type": "nonsense"}')
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=reason):
        load([given])
