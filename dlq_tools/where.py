"""`--where`: an SQL expression over the fields of a dead letter, checked before it is run.

It may compare, compute and call functions that always answer the same; nothing else: no second statement, no
subquery, no file. `payload.text`, `headers.tenant` and the like are JSON; beside text they are taken as text.
"""

import difflib
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from dlq_tools import standing
from dlq_tools.columns import STORED, kinds, sql_type, view_columns
from dlq_tools.database import look
from workers.core.errors import UsageError

_BEFORE = "SELECT 1 WHERE "
_ALLOWED = frozenset(
    {"CONJUNCTION", "COMPARISON", "OPERATOR", "FUNCTION", "COLUMN_REF", "CONSTANT", "CAST"}
) | {*("BETWEEN", "CASE", "COLLATE", "TYPE")}
_NO_COLUMNS = frozenset({"current_date", "current_timestamp", "current_time", "localtime", "localtimestamp"})
_ARITHMETIC = frozenset({"+", "-", "*", "/", "//", "%", "^", "**"})
_COMPARING = frozenset({"COMPARISON", "BETWEEN"})
Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked expression: as the user wrote it, and as the index runs it."""

    text: str
    sql: str


def parse(text: str) -> Condition:
    """Check an expression. Raises `UsageError` that says what is wrong and points at the place."""
    if not text.strip():
        raise UsageError("--where is empty: give a condition, such as class = 'timeout'")
    root = _tree(text)
    spans: list[tuple[int, int, str]] = []
    for node, parent in _walk(root, None):
        _check(node, text)
        if parent is not None and _is_path(node) and _wants_text(parent):
            spans.append((_start(node), int(node["query_location_length"]), _as_text(node["column_names"])))
    condition = Condition(text, _replaced(text, spans))
    try:
        _scratch().execute("EXPLAIN " + filtered("1", "t", condition))
    except duckdb.Error as error:
        raise explained(error, condition) from None
    return condition


def filtered(select: str, topic: str, condition: Condition) -> str:
    """A query of the letters that a checked condition holds for; `select` is our own SQL."""
    return f"SELECT {select} FROM ({source(topic)}) WHERE ({condition.sql}\n)"  # noqa: S608 - checked


def source(topic: str) -> str:
    """The rows that an expression sees, as SQL over the table `letters` and the ledger's."""
    names = ", ".join(f'{expression} AS "{name}"' for name, expression in view_columns().items())
    literal = "'" + topic.replace("'", "''") + "'"
    letters = f"(SELECT *, {literal} AS topic FROM letters)"  # noqa: S608 - our own names
    return f"SELECT {names} FROM {standing.joined(letters, literal)}"  # noqa: S608 - our own names


def explained(error: duckdb.Error, condition: Condition) -> UsageError:
    """What went wrong while the expression ran, without the values it met."""
    message = str(error)
    try:
        told: Node = json.loads(message[message.index("{") :])
    except ValueError:
        told = {"exception_message": message.partition("\n")[0]}
    reason = str(told.get("exception_message", "")).partition("\n")[0]
    if isinstance(error, duckdb.ConversionException) or "Malformed JSON" in reason:
        return UsageError(
            f"--where compares values that are not alike ({_without_values(reason)}): {condition.text}\n"
            "take JSON as text with ->>, as in payload->>'$.items[0].name' = 'x'; TRY(…) passes over letters where "
            "an expression fails"
        )
    return UsageError(f"--where can't be used ({_without_values(reason)}): {condition.text}")


def _tree(text: str) -> Node:
    statement = _serialized(_BEFORE + text + "\n")
    if statement["error"]:
        place = int(statement.get("position", len(_BEFORE))) - len(_BEFORE)
        hint = '; offset is a word of SQL: write it as "offset"' if 'near "offset"' in str(statement) else ""
        raise _pointing(text, place, f"{statement['error_message']}{hint}")
    statements = statement["statements"]
    node, plain = statements[0]["node"], _serialized(f"{_BEFORE}true")["statements"][0]["node"]
    condition = node.get("where_clause")
    rest = {name: part for name, part in node.items() if name != "where_clause"}
    if len(statements) != 1 or rest != {name: plain[name] for name in plain if name != "where_clause"}:
        raise UsageError(f"--where takes one condition and no other part of a statement: {text}")
    return dict(condition)


def _serialized(statement: str) -> Node:
    row = _scratch().execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchone()
    return dict(json.loads(row[0])) if row else {}


@functools.cache
def _scratch() -> duckdb.DuckDBPyConnection:
    """An empty index in memory, to parse and try expressions on."""
    connection = look(None, None)
    columns = ", ".join(f'"{name}" {sql_type(name)}' for name in STORED)
    connection.execute(f"CREATE TABLE letters ({columns})")
    return connection


@functools.cache
def _functions() -> frozenset[str]:
    """Functions of one row whose answer depends on nothing else: no random numbers, no counters, no log."""
    rows = _scratch().execute(
        "SELECT lower(function_name) FROM duckdb_functions() WHERE function_type IN ('scalar', 'macro') "
        "GROUP BY ALL HAVING bool_and(stability IS DISTINCT FROM 'VOLATILE')"
    )
    return frozenset(name for (name,) in rows.fetchall()) - {"getvariable", "current_setting", "getenv"}


def _walk(node: Node, parent: Node | None) -> Iterator[tuple[Node, Node | None]]:
    yield node, parent
    for child in _children(node):
        yield from _walk(child, node)


def _children(part: Any) -> Iterator[Node]:
    """The nodes right below: whatever lies between holds no class."""
    for value in part.values() if isinstance(part, dict) else part:
        if isinstance(value, dict) and "class" in value:
            yield value
        elif isinstance(value, dict | list):
            yield from _children(value)


def _check(node: Node, text: str) -> None:
    kind = node["class"]
    if kind not in _ALLOWED:
        said = {"SUBQUERY": "a subquery", "WINDOW": "a window function", "PARAMETER": "a parameter"}
        raise _pointing(text, _start(node), f"{said.get(kind, kind.lower())} can't be used in --where")
    if kind == "FUNCTION" and (name := str(node["function_name"]).lower()) not in _functions():
        raise _pointing(
            text, _start(node), f"no function {name} can be used in --where{_near(name, _functions())}"
        )
    if kind == "COLUMN_REF":
        _check_column(node, text)


def _check_column(node: Node, text: str) -> None:
    known = kinds()
    name, *path = (str(part) for part in node["column_names"])
    kind = known.get(name.lower())
    if kind is None and (path or name.lower() not in _NO_COLUMNS):
        hint = _near(name, known) or f"; there are {', '.join(known)}"
        raise _pointing(text, _start(node), f"there is no field {name}{hint}")
    if path and kind != "json":
        raise _pointing(
            text, _start(node), f"{name} is {kind} and has no parts; value, payload and headers have"
        )


def _is_path(node: Node) -> bool:
    return (
        node["class"] == "COLUMN_REF" and len(node["column_names"]) > 1 and node["query_location_length"] > 0
    )


def _wants_text(parent: Node) -> bool:
    """Whether a path below this node is taken as text: where it stands beside text, or in a function of text."""
    if parent["class"] == "FUNCTION":
        name = str(parent["function_name"])
        return name not in _ARITHMETIC and not name.startswith(("json", "->", "to_json"))
    comparing = parent["class"] in _COMPARING or parent["type"] == "COMPARE_IN"
    return comparing and any(_is_text(child) for child in _children(parent))


def _is_text(node: Node) -> bool:
    match node["class"]:
        case "CONSTANT":
            return bool(node["literal"]["kind"] == "STRING")
        case "COLUMN_REF":
            return len(node["column_names"]) == 1 and kinds().get(node["column_names"][0].lower()) == "text"
        case "FUNCTION":
            return node["function_name"] in {"lower", "upper", "trim", "concat", "||", "substring", "->>"}
        case _:
            return False


def _as_text(names: list[str]) -> str:
    root, *path = names
    steps = "".join(f'."{step}"' for step in path).replace("'", "''")
    return f"({root}->>'${steps}')"


def _replaced(text: str, spans: list[tuple[int, int, str]]) -> str:
    data = text.encode()
    for start, length, new in sorted(spans, reverse=True):
        data = data[:start] + new.encode() + data[start + length :]
    return data.decode()


def _start(node: Node) -> int:
    """The byte of the user's text where a node begins; what was made up by the parser begins at 0."""
    place = int(node["query_location"]) - len(_BEFORE)
    return place if 0 <= place < _NOWHERE else 0


_NOWHERE = 2**32


def _near(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


def _without_values(reason: str) -> str:
    """A reason less what it quotes of the letters: that may be a prompt."""
    return reason.partition("Input:")[0].partition("'")[0].partition(': "')[0].strip() or "conversion failed"


def _pointing(text: str, place: int, reason: str) -> UsageError:
    """The reason, the line of the text where it is, and a mark below the place."""
    before = text.encode()[: max(0, place)].decode("utf-8", "ignore")
    line, column = text.split("\n")[before.count("\n")], len(before.rpartition("\n")[2])
    return UsageError(f"--where: {reason} (character {len(before) + 1})\n  {line}\n  {' ' * column}^")
