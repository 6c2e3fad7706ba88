"""Answers as chat completions: whole, and piece by piece."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from schemas.chunk import Chunk
from schemas.response import Response, ResponsePayload
from workers.gateway.openai_errors import OpenAIError

Choice = Mapping[str, Any]


def completion(response: Response, model: str, created: int) -> dict[str, Any]:
    """A whole answer. `model` is what the client asked for, `created` epoch seconds."""
    payload = response.payload
    return {
        "id": response.message_id,
        "object": "chat.completion",
        "created": created,
        "model": payload.model or model,
        "choices": [_whole(choice, number) for number, choice in enumerate(choices_of(payload))],
        "usage": _usage(payload),
    }


def choices_of(payload: ResponsePayload) -> Sequence[Choice]:
    """The choices that the model sent, or the one that the text makes."""
    if payload.choices:
        return payload.choices
    message = {"role": "assistant", "content": payload.text or ""}
    return [{"index": 0, "message": message, "finish_reason": payload.finish_reason or "stop"}]


def _whole(choice: Choice, number: int) -> dict[str, Any]:
    message = choice.get("message")
    said = message if isinstance(message, Mapping) else {}
    return {
        "index": number,
        "logprobs": None,
        **choice,
        "message": {"role": "assistant", "content": None, "refusal": None, **said},
        "finish_reason": choice.get("finish_reason") or "stop",
    }


def _usage(payload: ResponsePayload) -> dict[str, int]:
    """Zeros where nobody counted: clients add these up."""
    if payload.usage is None:
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return payload.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"})


class Told:
    """What a client has been told of one streamed answer, and what is still to be told.

    A client of this protocol can't take back what it was told. Where an attempt broke and the next begins anew, what
    is the same is left out; where it says something else the stream ends with an error.
    """

    def __init__(self, message_id: str, model: str, created: int, *, usage: bool) -> None:
        self._head = {"id": message_id, "object": "chat.completion.chunk", "created": created}
        self._model = model
        self._usage = usage
        self._run: str | None = None
        self._complete = False
        self._texts: dict[int, str] = {}
        self._places: dict[int, int] = {}  # in the run that is under way: how much of each text it has said
        self._beside = False  # something else than text was told
        self._ended: set[int] = set()

    def chunk(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        """The events for one piece. Raises `OpenAIError` where it contradicts what was told."""
        if chunk.run != self._run:
            self._begin(chunk.run)
        self._model = chunk.model or self._model
        self._complete = chunk.final
        number = chunk.choice
        text = self._new(number, chunk.text)
        if text or chunk.delta:
            self._beside = self._beside or bool(chunk.delta)
            yield self._delta(number, text, chunk.delta)
        if chunk.finish_reason is not None:
            yield from self._end(number, chunk.finish_reason)

    def rest(self, response: Response) -> Iterator[dict[str, Any]]:
        """The events for what no piece brought, up to the usage. Raises `OpenAIError` as above."""
        payload = response.payload
        self._model = payload.model or self._model
        for number, choice in enumerate(choices_of(payload)):
            yield from self._rest_of(number, choice)
            yield from self._end(number, choice.get("finish_reason") or "stop")
        if self._usage:
            yield {**self._event([]), "usage": _usage(payload)}

    def _begin(self, run: str) -> None:
        if self._beside or self._ended:
            raise self._contradiction()
        self._run, self._places = run, {}

    def _new(self, number: int, text: str) -> str:
        """The part of the run's text that was not told yet."""
        told, place = self._texts.get(number, ""), self._places.get(number, 0)
        self._places[number] = place + len(text)
        known = told[place : place + len(text)]
        if not text.startswith(known):
            raise self._contradiction()
        return text[len(known) :]

    def _rest_of(self, number: int, choice: Choice) -> Iterator[dict[str, Any]]:
        if self._complete:
            return
        message = choice.get("message")
        said = dict(message) if isinstance(message, Mapping) else {}
        content, _ = said.pop("content", None), said.pop("role", None)
        beside = {name: value for name, value in said.items() if value not in (None, [], {}, "")}
        if beside and self._beside:
            raise self._contradiction()  # nobody knows which of it was told
        self._places[number] = 0
        text = self._new(number, content if isinstance(content, str) else "")
        if isinstance(calls := beside.get("tool_calls"), list):
            beside["tool_calls"] = [{"index": place, **call} for place, call in enumerate(calls)]
        if choice.get("logprobs") is not None and not self._texts:
            beside["logprobs"] = choice["logprobs"]
        if text or beside:
            yield self._delta(number, text, beside)

    def _delta(self, number: int, text: str, beside: Mapping[str, Any]) -> dict[str, Any]:
        delta: dict[str, Any] = {"role": "assistant"} if number not in self._texts else {}
        if text or not beside:
            delta["content"] = text
        fields = dict(beside)
        logprobs = fields.pop("logprobs", None)
        self._texts[number] = self._texts.get(number, "") + text
        return self._event([_choice(number, {**delta, **fields}, logprobs)])

    def _end(self, number: int, reason: str) -> Iterator[dict[str, Any]]:
        if number in self._ended:
            return
        if number not in self._texts:
            yield self._delta(number, "", {})
        self._ended.add(number)
        yield self._event([_choice(number, {}, None, reason)])

    def _event(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        event = {**self._head, "model": self._model, "choices": choices}
        return {**event, "usage": None} if self._usage else event

    def _contradiction(self) -> OpenAIError:
        return OpenAIError(
            HTTPStatus.BAD_GATEWAY,
            "the model broke off and began anew with another answer; the whole of that is found under"
            f" /api/responses/{self._head['id']}",
            "answer_began_anew",
        )


def _choice(
    number: int, delta: Mapping[str, Any], logprobs: Any, reason: str | None = None
) -> dict[str, Any]:
    return {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
