"""Conversations: what a model is told of the turns before a message, and what of an answer becomes a turn.

A turn is a list of chat messages: what was asked, then the answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.envelope import Message, Payload, Request
from workers.core.ports import Answer

Turn = Sequence[Mapping[str, Any]]

_SYSTEM = frozenset({"system", "developer"})


def brings_its_own(payload: Payload) -> bool:
    """Whether a request holds the turns before it already: an answer is among its messages."""
    return any(message.role == "assistant" for message in payload.messages or ())


def with_history(request: Request, turns: Iterable[Turn]) -> Request:
    """The request with the turns before it as messages, behind its own instructions."""
    payload = request.payload
    own = payload.messages or []
    past = [Message.model_construct(None, **message) for message in _whole(turns)]
    if not past:
        return request
    messages = [
        *(message for message in own if message.role in _SYSTEM),
        *past,
        *(message for message in own if message.role not in _SYSTEM),
    ]
    return request.model_copy(update={"payload": payload.model_copy(update={"messages": messages})})


def turn_of(payload: Payload, answer: Answer) -> Turn:
    """What was asked last, and what was answered."""
    asked: list[Mapping[str, Any]] = []
    for message in payload.messages or ():
        if message.role == "assistant":
            asked.clear()
        elif message.role not in _SYSTEM:
            asked.append(message.model_dump(exclude_none=True))
    if payload.text is not None:
        asked.append({"role": "user", "content": payload.text})
    return [*asked, _said(answer)]


def _said(answer: Answer) -> Mapping[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": answer.text}
    for choice in (answer.choices or ())[:1]:
        message = choice.get("message")
        calls = message.get("tool_calls") if isinstance(message, Mapping) else None
        if calls:
            said["tool_calls"] = calls
    return said


def _whole(turns: Iterable[Turn]) -> list[Mapping[str, Any]]:
    """The messages of these turns, from the first that is a question: what answers a tool call no one remembers is none."""
    messages = [message for turn in turns for message in turn]
    first = next((n for n, message in enumerate(messages) if message["role"] == "user"), len(messages))
    return messages[first:]
