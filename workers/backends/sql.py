"""One query against a database, its parameters taken from the message and always bound, its row put into words."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import ArgumentError, CompileError

from schemas.envelope import Payload
from schemas.errors import ErrorClass
from workers.backends.sql_engine import Database, translate_sqlalchemy
from workers.backends.template import Template
from workers.core.errors import PermanentError, TransientError, UsageError
from workers.core.ports import Answer, Call
from workers.core.topology.model import ParameterSource, SqlTarget

MAX_ROWS = 20
"""Rows put into an answer; the rest is not fetched."""

MAX_SEARCHED = 100_000
"""Characters of the text that a parameter's pattern is tried on."""


class SqlBackend:
    """The database of a `sql` target. See `core.ports.Backend`.

    Every call is a transaction that is rolled back, read-only where the database can be told so.
    """

    def __init__(self, target: SqlTarget) -> None:
        """Raises `UsageError` for a DSN, query, parameter or answer that could never work."""
        self._database = Database(target.dsn.get_secret_value(), target.concurrency)
        self._parameters = {name: _Parameter(name, source) for name, source in target.parameters.items()}
        self._query = _query(target.query, target.parameters)
        self._answer = Template("answer", target.answer)
        self._not_found = Template("not_found", target.not_found) if target.not_found is not None else None

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._database.name

    async def call(self, call: Call) -> Answer:
        """See `Backend`."""
        payload = call.request.payload
        values = {name: parameter.find(payload) for name, parameter in self._parameters.items()}
        try:
            async with asyncio.timeout(call.timeout):
                rows = await self._rows(values)
        except TimeoutError as error:
            raise TransientError(ErrorClass.TIMEOUT, f"{self.name} did not answer in time") from error
        if rows:
            lines = [self._answer.render({**values, **row}) for row in rows]
            return Answer("\n".join(lines), finish_reason="stop")
        if self._not_found is not None:
            return Answer(self._not_found.render(values), finish_reason="stop")
        raise PermanentError(ErrorClass.UPSTREAM_4XX, f"{self.name} has no row for this message")

    async def close(self) -> None:
        """See `Backend`."""
        await self._database.close()

    async def _rows(self, values: Mapping[str, Any]) -> Sequence[RowMapping]:
        with translate_sqlalchemy(self.name):
            return await self._database.fetch(self._query, values, MAX_ROWS)


class _Parameter:
    """Finds one parameter's value in a message."""

    def __init__(self, name: str, source: ParameterSource) -> None:
        self._name = name
        self._path = source.context.split(".") if source.context is not None else None
        try:
            self._pattern = re.compile(source.pattern) if source.pattern is not None else None
        except re.error as error:
            raise UsageError(f"parameters.{name}.pattern is not a regular expression: {error}") from error
        if self._path is None and self._pattern is None:
            raise UsageError(f"parameters.{name} has no source; give it a `pattern` or a `context` field")

    def find(self, payload: Payload) -> str | int | float:
        """The value: from the context, else from the text. Raises `PermanentError(schema)` where there is none."""
        value = _at(payload.context, self._path) if self._path is not None else None
        if value is None and self._pattern is not None:
            match = self._pattern.search(_text_of(payload)[:MAX_SEARCHED])
            value = match[1 if match.re.groups else 0] if match is not None else None
        if value is None:
            raise PermanentError(
                ErrorClass.SCHEMA, f"the message holds no {self._name}, which the query needs"
            )
        if not isinstance(value, str | int | float):
            raise PermanentError(ErrorClass.SCHEMA, f"{self._name} is neither text nor a number")
        return value


def _query(query: str, parameters: Mapping[str, ParameterSource]) -> TextClause:
    try:
        clause = text(query)
        names = clause.compile().params
    except (ArgumentError, CompileError) as error:
        raise UsageError(f"query is not understood: {error}") from error
    for name in names:
        if name not in parameters:
            raise UsageError(f"query uses :{name}, which `parameters` does not define")
    return clause


def _at(context: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = context
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _text_of(payload: Payload) -> str:
    """What was asked last."""
    if payload.text is not None:
        return payload.text
    for message in reversed(payload.messages or ()):
        if message.role == "user" and isinstance(message.content, str):
            return message.content
    return ""
