"""A chat completion that comes in pieces: each goes on as it comes, and the whole answer is put together beside."""

from collections.abc import Mapping
from typing import Any

from schemas.codec import jsontext
from schemas.errors import DecodeError, ErrorClass
from workers.backends import openai_response
from workers.backends.http_errors import failure
from workers.backends.server_sent import EventReader
from workers.core.ports import Answer, Piece, Sink

_DONE = b"[DONE]"
_REPLACED = frozenset({"id", "index", "role", "type"})


class StreamedAnswer:
    """Takes the body of a streamed answer as it comes off the wire. `most` is bytes in all."""

    def __init__(self, name: str, status: int, sink: Sink, most: int) -> None:
        self._name = name
        self._status = status
        self._sink = sink
        self._most = most
        self._read = 0
        self._events = EventReader()
        self._choices: dict[int, dict[str, Any]] = {}
        self._model: str | None = None
        self._told_model = False
        self._usage: Any = None
        self._done = False

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises `MessageError` where they hold an error, or are no part of an answer."""
        self._read += len(data)
        if self._read > self._most:
            raise self._failure(ErrorClass.UPSTREAM_5XX, f"sent more than {self._most // 1024**2} MiB")
        for event in self._events.feed(data):
            self._take(event)

    def finish(self) -> Answer:
        """The whole answer, where nothing more comes. Raises `MessageError` where it broke off before its end."""
        if not self._choices or not (self._done or all(map(_finished, self._choices.values()))):
            raise self._failure(ErrorClass.CONNECT, "broke off its answer")
        body = {
            "model": self._model,
            "choices": [self._choices[number] for number in sorted(self._choices)],
            "usage": self._usage,
        }
        return openai_response.answer(self._name, self._status, body)

    def _take(self, event: bytes) -> None:
        if self._done:
            return
        if event == _DONE:
            self._done = True
            return
        try:
            body = jsontext.loads(event)
        except DecodeError:
            body = None
        if not isinstance(body, dict):
            raise self._failure(ErrorClass.UPSTREAM_5XX, "sent a piece of an answer that is not JSON")
        if "error" in body:
            raise openai_response.no_answer(self._name, self._status, body)
        self._note(body)
        for choice in body.get("choices") or ():
            if isinstance(choice, dict):
                self._take_choice(choice)

    def _note(self, body: Mapping[str, Any]) -> None:
        if isinstance(model := body.get("model"), str):
            self._model = model
        if body.get("usage") is not None:
            self._usage = body["usage"]

    def _take_choice(self, choice: Mapping[str, Any]) -> None:
        number = choice.get("index", 0)
        if not isinstance(number, int) or number < 0:
            raise self._failure(ErrorClass.UPSTREAM_5XX, "sent a piece of no answer")
        delta = choice.get("delta")
        fields = dict(delta) if isinstance(delta, dict) else {}
        content = fields.pop("content", None)
        text = content if isinstance(content, str) else ""
        reason = choice.get("finish_reason")
        whole = self._choices.setdefault(
            number,
            {"index": number, "message": {"role": "assistant", "content": None}, "finish_reason": None},
        )
        if isinstance(content, str):
            whole["message"]["content"] = (whole["message"]["content"] or "") + text
        merge(whole["message"], fields)
        if isinstance(reason, str):
            whole["finish_reason"] = reason
        if choice.get("logprobs") is not None:
            merge(whole, {"logprobs": choice["logprobs"]})
            fields["logprobs"] = choice["logprobs"]
        self._pass_on(number, text, fields, reason if isinstance(reason, str) else None)

    def _pass_on(self, number: int, text: str, fields: dict[str, Any], reason: str | None) -> None:
        fields.pop("role", None)
        beside = {name: value for name, value in fields.items() if value not in (None, [], {}, "")}
        # What a filter withdraws is an error of the whole attempt, and known only now.
        if reason == "content_filter" or not (text or beside or reason):
            return
        model = None if self._told_model else self._model
        self._told_model = True
        self._sink(Piece(text, beside or None, number, reason, model))

    def _failure(self, error_class: ErrorClass, what: str) -> Exception:
        return failure(error_class, f"{self._name} {what}", status=self._status)


def merge(whole: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add a delta to what came before: texts grow, lists of numbered objects grow by number, the rest is replaced."""
    for name, value in delta.items():
        known = whole.get(name)
        if isinstance(value, str) and isinstance(known, str) and name not in _REPLACED:
            whole[name] = known + value
        elif isinstance(value, dict) and isinstance(known, dict):
            merge(known, value)
        elif isinstance(value, list):
            whole[name] = _merged(known if isinstance(known, list) else [], value)
        elif value is not None or name not in whole:
            whole[name] = _copy(value)


def _merged(known: list[Any], items: list[Any]) -> list[Any]:
    for item in items:
        number = item.get("index") if isinstance(item, dict) else None
        same = next((one for one in known if isinstance(one, dict) and one.get("index") == number), None)
        if number is None or same is None:
            known.append(_copy(item))
        else:
            merge(same, item)
    return known


def _copy(value: Any) -> Any:
    """A value of its own, for what grows must not be what was passed on."""
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _finished(choice: Mapping[str, Any]) -> bool:
    return choice["finish_reason"] is not None
