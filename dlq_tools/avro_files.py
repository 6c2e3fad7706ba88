"""Avro values of other systems, read with schemas that the operator gives as files. No registry is asked.

A value is framed as registries frame it (a 0 and four bytes of id, or a 1 and sixteen bytes of GUID, in front of it or
in the header `__value_schema_id`), or it is plain Avro. A schema that is named by its id is used for that id alone;
others are tried on whatever else can't be read, and hold where they account for every byte.
"""

import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from schemas.codec import avro
from schemas.codec.reader import SCHEMA_ID
from schemas.errors import DecodeError
from schemas.headers import Headers
from schemas.registry import AvroSchema, prepare
from workers.core.errors import UsageError

_SUFFIX = ".avsc"
_NAMED = re.compile(r"(\d{1,10}|[0-9a-fA-F-]{36})=(.+)")
_WIRE = "avro-registry"
_ID_END, _GUID_END = 5, 17
Name = int | uuid.UUID


@dataclass(frozen=True, slots=True)
class AvroFiles:
    """Schemas by id or GUID, and those that name none. `digest` is another one wherever values would read differently."""

    named: dict[Name, AvroSchema] = field(default_factory=dict)
    others: tuple[AvroSchema, ...] = ()
    digest: str = ""

    def read(self, value: bytes, headers: Headers) -> Any:
        """What a value holds, in JSON types; None where none of the schemas fits. Never raises."""
        if not self.digest:
            return None
        name, start = _frame(value, headers)
        known = None if name is None else self.named.get(name)
        schemas = self.others if known is None else (known,)
        return next((found for schema in schemas if (found := _read(value, start, schema)) is not None), None)


NONE = AvroFiles()


def load(given: Sequence[str]) -> AvroFiles:
    """Read what `--schema` was given: `FILE.avsc`, `ID=FILE.avsc`, or a folder of either, those of ids named `ID.avsc`.

    Raises `UsageError` for what is no file, or no schema that is safe to read strangers' bytes with.
    """
    named: dict[Name, AvroSchema] = {}
    others: list[AvroSchema] = []
    digest = hashlib.sha256()
    for name, path in (found for text in given for found in _files(text)):
        schema, data = _schema(path)
        digest.update(f"{name}:{len(data)}:".encode() + data)
        if name is None:
            others.append(schema)
        else:
            named[name] = schema
    return AvroFiles(named, tuple(others), digest.hexdigest()[:12] if named or others else "")


def _files(text: str) -> Iterator[tuple[Name | None, Path]]:
    found = _NAMED.fullmatch(text)
    path = Path(text if found is None else found[2])
    if found is None and path.is_dir():
        inside = sorted(path.glob(f"*{_SUFFIX}"))
        if not inside:
            raise UsageError(f"--schema {text}: no file in this folder ends in {_SUFFIX}")
        yield from ((_name(each.stem), each) for each in inside)
        return
    if path.suffix != _SUFFIX:
        raise UsageError(f"--schema {text!r}: give FILE{_SUFFIX}, ID=FILE{_SUFFIX} or a folder of such files")
    yield (_name(found[1]) if found is not None else _name(path.stem)), path


def _name(text: str) -> Name | None:
    """The id or GUID that a file's name is, or None where it is any other name."""
    if text.isdecimal() and int(text) < 2**32:
        return int(text)
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _schema(path: Path) -> tuple[AvroSchema, bytes]:
    try:
        data = path.read_bytes()
        definition = orjson.loads(data)
    except OSError as error:
        raise UsageError(f"--schema {path} can't be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--schema {path} is no JSON: {error.msg}, line {error.lineno}") from error
    try:
        return prepare(definition), data
    except DecodeError as error:
        raise UsageError(f"--schema {path}: {error.reason}") from error


def _frame(value: bytes, headers: Headers) -> tuple[Name | None, int]:
    """The schema that a value names, and where it begins behind that."""
    header = next((text for name, text in reversed(headers) if name == SCHEMA_ID and text), None)
    data = value if header is None else header
    if data[:1] == b"\x00" and len(data) >= _ID_END:
        name: Name = int.from_bytes(data[1:_ID_END], "big")
        return name, _ID_END if header is None else 0
    if data[:1] == b"\x01" and len(data) >= _GUID_END:
        return uuid.UUID(bytes=data[1:_GUID_END]), _GUID_END if header is None else 0
    return None, 0


def _read(value: bytes, start: int, schema: AvroSchema) -> Any:
    try:
        return avro.read(value, start, schema, _WIRE)
    except DecodeError:
        return None
