"""An answer taken out of JSON by JSONPath. What a backend says about an error is never kept: it may quote the prompt."""

import re
from collections.abc import Mapping
from typing import Any

import jsonpath
import orjson
from jsonpath import JSONPath

from schemas.codec import jsontext
from schemas.errors import DecodeError, ErrorClass
from workers.backends.counts import is_count, together
from workers.backends.http_errors import failure, status_class
from workers.core.errors import MessageError, UsageError
from workers.core.ports import Answer, Piece, Sink, Usage
from workers.core.topology.protocols import AnswerPaths, StreamPaths

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ELSEWHERE: Mapping[ErrorClass, ErrorClass] = {
    ErrorClass.SCHEMA: ErrorClass.UPSTREAM_4XX,
    ErrorClass.UNROUTABLE: ErrorClass.UPSTREAM_4XX,
    ErrorClass.TOO_LARGE: ErrorClass.UPSTREAM_4XX,
    ErrorClass.EXPIRED: ErrorClass.TIMEOUT,
    ErrorClass.INTERNAL: ErrorClass.UPSTREAM_5XX,
}
"""What is our own fault in one fleet is the backend's failure for another."""


def class_of(code: Any) -> ErrorClass | None:
    """The class that a backend's error code names: one of ours, or an HTTP status."""
    try:
        known = ErrorClass(code)
    except ValueError:
        status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdecimal()) else 0
        return status_class(status) if 400 <= status < 600 else None
    return _ELSEWHERE.get(known, known)


class Extractor:
    """Finds the parts of a backend's answers."""

    def __init__(self, name: str, paths: AnswerPaths, stream: StreamPaths | None = None) -> None:
        """`name` is the backend's. Raises `UsageError` for what is no JSONPath."""
        self._name = name
        self._plain = paths.format == "text"
        self._errors = paths.errors
        self._text = _compiled("answer.text", paths.text)
        self._model = _optional("answer.model", paths.model)
        self._finish_reason = _optional("answer.finish_reason", paths.finish_reason)
        self._prompt_tokens = _optional("answer.prompt_tokens", paths.prompt_tokens)
        self._completion_tokens = _optional("answer.completion_tokens", paths.completion_tokens)
        self._error = _optional("answer.error", paths.error)
        self._piece = _optional("stream.text", stream.text if stream is not None else None)
        self._done = _optional("stream.done", stream.done if stream is not None else None)

    def parse(self, data: bytes, status: int | None = None) -> Answer:
        """The answer in these bytes. Raises `MessageError` where there is none in them."""
        if self._plain:
            try:
                return Answer(data.decode(), finish_reason="stop")
            except UnicodeDecodeError as error:
                raise self._garbage("sent an answer that is not UTF-8 text", status) from error
        return self.answer(self.load(data, status), status)

    def load(self, data: bytes | str, status: int | None = None) -> Any:
        """The JSON in these bytes. Raises `MessageError` where it is none."""
        try:
            return jsontext.loads(data.encode() if isinstance(data, str) else data)
        except (DecodeError, UnicodeEncodeError) as error:
            raise self._garbage("sent an answer that is not whole JSON", status) from error

    def answer(self, body: Any, status: int | None = None) -> Answer:
        """The answer in this JSON. Raises `MessageError` where there is none in it."""
        self.check(body, status)
        found = self._all(self._text, body)
        if not found:
            raise self._garbage("sent an answer without text", status)
        return self._with_details(body, "\n".join(map(_as_text, found)))

    def check(self, body: Any, status: int | None = None) -> None:
        """Raise the failure that this JSON tells of."""
        code = self._first(self._error, body)
        if code in (None, False, "", [], {}):
            return
        error_class = self._errors.get(str(code)) or class_of(code) or ErrorClass.UPSTREAM_5XX
        word = f" ({code})" if _WORD.fullmatch(str(code)) else ""
        raise failure(error_class, f"{self._name} answered with an error{word}", status=status)

    def refusal(self, status: int, data: bytes, retry_after: float | None) -> MessageError:
        """What an HTTP status other than 2xx means."""
        error_class = self._errors.get(str(status), status_class(status))
        code = self._code(data)
        word = f" ({code})" if code is not None and _WORD.fullmatch(code) else ""
        if code is not None:
            error_class = self._errors.get(code, error_class)
        return failure(
            error_class, f"{self._name} answered {status}{word}", status=status, retry_after=retry_after
        )

    def _code(self, data: bytes) -> str | None:
        try:
            code = self._first(self._error, orjson.loads(data))
        except orjson.JSONDecodeError:
            return None
        return str(code) if isinstance(code, str | int) else None

    def piece(self, body: Any) -> str:
        """The text that this message of a stream adds; empty where it adds none."""
        value = self._first(self._piece, body)
        return value if isinstance(value, str) else ""

    def ends(self, body: Any) -> bool:
        """Whether this is a stream's last message."""
        return bool(self._first(self._done, body))

    def streamed(self, body: Any, text: str) -> Answer:
        """The whole answer, from a stream's last message and the text of its pieces."""
        whole = [found for found in self._all(self._text, body) if isinstance(found, str)]
        return self._with_details(body, text or "\n".join(whole))

    def _with_details(self, body: Any, text: str) -> Answer:
        model, reason = self._first(self._model, body), self._first(self._finish_reason, body)
        return Answer(
            text=text,
            model=model if isinstance(model, str) else None,
            finish_reason=reason if isinstance(reason, str) else "stop",
            usage=self._usage(body),
        )

    def _usage(self, body: Any) -> Usage | None:
        prompt = self._first(self._prompt_tokens, body)
        completion = self._first(self._completion_tokens, body)
        if not (is_count(prompt) or is_count(completion)):
            return None
        prompt, completion = (value if is_count(value) else 0 for value in (prompt, completion))
        return Usage(prompt, completion, together(prompt, completion))

    def _first(self, path: JSONPath | None, body: Any) -> Any:
        found = self._all(path, body) if path is not None else ()
        return found[0] if found else None

    def _all(self, path: JSONPath, body: Any) -> list[Any]:
        try:
            return list(path.findall(body))
        except jsonpath.JSONPathError as error:
            raise self._garbage("sent an answer in which nothing can be found", None) from error

    def _garbage(self, what: str, status: int | None) -> MessageError:
        return failure(ErrorClass.UPSTREAM_5XX, f"{self._name} {what}", status=status)


class Pieces:
    """A streamed answer as it grows: each piece goes on at once, and the whole is put together beside."""

    def __init__(self, extractor: Extractor, sink: Sink | None) -> None:
        self._extractor = extractor
        self._sink = sink
        self._texts: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether any piece has come."""
        return bool(self._texts)

    def take(self, body: Any) -> Answer | None:
        """The next message; the answer where it was the last one. Raises `MessageError` where it tells of one."""
        self._extractor.check(body)
        if text := self._extractor.piece(body):
            self._texts.append(text)
            if self._sink is not None:
                self._sink(Piece(text))
        return self.finish(body) if self._extractor.ends(body) else None

    def finish(self, body: Any) -> Answer:
        """The whole answer; `body` is the last message."""
        return self._extractor.streamed(body, "".join(self._texts))


def _optional(field: str, path: str | None) -> JSONPath | None:
    return None if path is None else _compiled(field, path)


def _compiled(field: str, path: str) -> JSONPath:
    try:
        compiled = jsonpath.compile(path)
    except jsonpath.JSONPathError as error:
        raise UsageError(f"{field} is not a JSONPath: {error}") from error
    if not isinstance(compiled, JSONPath):
        raise UsageError(f"{field} is several JSONPaths; write one")
    return compiled


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
