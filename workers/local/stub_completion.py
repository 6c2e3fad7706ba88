"""What the stub model answers: a chat completion, whole or in pieces."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

Delta = dict[str, Any]
DONE = b"data: [DONE]\n\n"


class Completion(NamedTuple):
    """One answer. `body` is the request; `piece_chars` as in `Faults`."""

    body: dict[str, Any]
    number: int
    text: str
    finish_reason: str
    piece_chars: int = 0
    tool: str | None = None

    def whole(self) -> dict[str, Any]:
        """All of it."""
        message: Delta = {"role": "assistant", "content": self.text}
        if self.tool is not None:
            message = {"role": "assistant", "content": None, "tool_calls": [_tool_call(self.tool)]}
        choices = [
            {"index": index, "message": message, "finish_reason": self.finish_reason}
            for index in range(self._answers)
        ]
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": self._usage}

    def pieces(self) -> list[bytes]:
        """The events of a stream: what it says, why it ends, and what it costs."""
        events = [
            self._event([{"index": index, "delta": delta, "finish_reason": None}])
            for delta in self._deltas()
            for index in range(self._answers)
        ]
        events += [
            self._event([{"index": index, "delta": {}, "finish_reason": self.finish_reason}])
            for index in range(self._answers)
        ]
        return [*events, self._event([], usage=self._usage), DONE]

    def _deltas(self) -> Iterator[Delta]:
        if self.tool is not None:
            call = _tool_call(self.tool)
            name, arguments = call["function"].values()
            start = {**call, "index": 0, "function": {"name": name, "arguments": ""}}
            yield {"role": "assistant", "content": None, "tool_calls": [start]}
            yield {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}
            return
        first, *rest = self._cut()
        yield {"role": "assistant", "content": first}
        yield from ({"content": piece} for piece in rest)

    def _cut(self) -> list[str]:
        if size := self.piece_chars:
            return [self.text[start : start + size] for start in range(0, len(self.text), size)]
        first, *rest = self.text.split(" ")
        return [first, *(f" {word}" for word in rest)]

    @property
    def _head(self) -> dict[str, Any]:
        return {"id": f"stub-{self.number}", "created": 0, "model": self.body.get("model") or "stub"}

    @property
    def _answers(self) -> int:
        return int(self.body.get("n") or 1)

    @property
    def _usage(self) -> dict[str, int]:
        prompt, completion = max(1, len(str(self.body["messages"])) // 4), max(1, len(self.text) // 4)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        event = {**self._head, "object": "chat.completion.chunk", "choices": choices, **more}
        return b"data: " + orjson.dumps(event) + b"\n\n"


def _tool_call(name: str) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": "{}"}}
