"""The fields of an indexed dead letter: their names, their types in the index, and what of them may be shown."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from dlq_tools import standing
from workers.core.records import TopicPartition


class IndexedLetter(NamedTuple):
    """One dead letter as the index knows it: what its headers tell, without its raw bytes.

    Times are epoch milliseconds; `failed_at_ms` is when it failed last, as far as anybody knows. `error_class` is ours,
    else the short name of the exception that another system gives. `format` is how the value could be read: `json`,
    `avro`, `text`, `binary` or `null`. `headers` and `value` are JSON text; `value` is None where the value is no JSON,
    or larger than the index keeps. `key` is text, or `0x` and hex digits. `size` is the value's, in bytes.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    failed_at_ms: int
    first_failed_at_ms: int | None
    last_failed_at_ms: int | None
    message_id: str | None
    source: str | None
    target: str | None
    error_class: str | None
    stage: str | None
    status: int | None
    message: str | None
    exception: str | None
    fingerprint: str | None
    attempts: int | None
    deadline_ms: int | None
    origin_topic: str | None
    origin_partition: int | None
    origin_offset: int | None
    failed_topic: str | None
    failed_partition: int | None
    failed_offset: int | None
    replay_count: int
    replay_id: str | None
    family: str
    format: str
    key: str | None
    size: int
    headers: str
    value: str | None

    @property
    def position(self) -> str:
        """`topic:partition:offset`, the key of the ledger."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    @property
    def place(self) -> TopicPartition:
        """The partition it lies in."""
        return TopicPartition(self.topic, self.partition)

    def public(self) -> dict[str, Any]:
        """What is printed without `--show-payload`: neither key, value nor headers; times as ISO 8601 in UTC."""
        shown = {name: value for name, value in self._asdict().items() if name not in PRIVATE}
        return {"position": self.position, **{sql_name(name): _shown(name, shown[name]) for name in shown}}


PRIVATE = frozenset({"key", "value", "headers"})
JSON_COLUMNS = frozenset({"value", "payload", "headers"})
"""Columns that may be looked into: `payload.text`, `headers.tenant`."""

STORED = IndexedLetter._fields[1:]  # an index holds one topic
_NUMBERS = frozenset(
    {
        *("partition", "offset", "timestamp_ms", "failed_at_ms", "first_failed_at_ms", "last_failed_at_ms"),
        *("status", "attempts", "deadline_ms", "origin_partition", "origin_offset", "failed_partition"),
        *("failed_offset", "replay_count", "size"),
    }
)
_TIME = "_ms"


def sql_type(name: str) -> str:
    """The type of a stored field."""
    return "BIGINT" if name in _NUMBERS else "VARCHAR"


def sql_name(name: str) -> str:
    """What a field is called in `--where` and in output: `class` is a keyword of Python only, times lose their unit."""
    return "class" if name == "error_class" else name.removesuffix(_TIME)


def view_columns() -> dict[str, str]:
    """Every name that `--where` may use, with the expression behind it over the stored fields and the ledger's."""
    columns = {sql_name(name): _expression(name) for name in STORED}
    position = "topic || ':' || partition || ':' || \"offset\""
    payload = "value::JSON->'payload'"
    return {"topic": "topic", "position": position, **columns, "payload": payload, **standing.COLUMNS}


def kinds() -> dict[str, str]:
    """Of every name that `--where` may use: `text`, `number`, `time` or `json`."""
    numbers = {sql_name(name) for name in _NUMBERS if not name.endswith(_TIME)}
    times = {"state_at", *(sql_name(name) for name in _NUMBERS if name.endswith(_TIME))}
    return {
        name: "json"
        if name in JSON_COLUMNS
        else "number"
        if name in numbers
        else "time"
        if name in times
        else "text"
        for name in view_columns()
    }


def iso(milliseconds: int | None) -> str | None:
    """A time as people and scripts read it: ISO 8601 in UTC, milliseconds kept. What no calendar has is None."""
    if milliseconds is None:
        return None
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _expression(name: str) -> str:
    if name.endswith(_TIME):
        return f"make_timestamptz({name} * 1000)"
    return f"{name}::JSON" if name in JSON_COLUMNS else f'"{name}"'


def _shown(name: str, value: Any) -> Any:
    return iso(value) if name.endswith(_TIME) else value
