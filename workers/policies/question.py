"""What makes two questions the same, so that one answer serves both."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from schemas.envelope import Payload

_NOT_ASKED = frozenset({"text", "messages", "user_id", "session_id", "stream", "cache_control"})
"""Fields of a payload that say who asks and how the answer travels, and the text, which is looked at by itself."""
_BLANKS = re.compile(r"[^\S\n]+")


@dataclass(frozen=True, slots=True)
class Question:
    """The last words of what is asked, and a digest of everything else that the answer may depend on."""

    text: str
    rest: str

    @property
    def key(self) -> str:
        """The same for the same question."""
        return _digest([self.rest, self.text])


def question_of(payload: Payload, *, tenant: str | None, settings: Any = None) -> Question:
    """What a payload asks. Two differ where tenant, model, parameters, context, earlier turns or unknown fields do.

    `settings`: what the target adds by itself, such as its default model and parameters.
    """
    rest = payload.model_dump(exclude=set(_NOT_ASKED), exclude_defaults=True)
    turns = [_turn(message.model_dump(exclude_unset=True)) for message in payload.messages or ()]
    if payload.text is not None:
        return Question(normal(payload.text), _digest([tenant, settings, rest, turns, "text"]))
    last = turns[-1] if turns else {}
    text = last.get("content")
    if isinstance(text, str):
        turns[-1] = {**last, "content": None}
        return Question(text, _digest([tenant, settings, rest, turns, "turn"]))
    return Question("", _digest([tenant, settings, rest, turns, "parts"]))


def normal(text: str) -> str:
    """The text without differences that nobody means: width, spacing within and around lines. Case stays, and so do
    lines and their indentation, which mean something in code.
    """
    text = unicodedata.normalize("NFKC", text).strip()
    if "\n" not in text:
        return _BLANKS.sub(" ", text)
    return "\n".join(line.rstrip() for line in text.split("\n"))


def says_no_cache(values: Iterable[str | None]) -> frozenset[str]:
    """Which of `no-cache` and `no-store` stand in the values of `Cache-Control`, wherever they came from."""
    words = {word.strip().lower() for value in values if value for word in value.split(",")}
    return frozenset(words & {"no-cache", "no-store"})


def _turn(fields: dict[str, Any]) -> dict[str, Any]:
    content = fields.get("content")
    return {**fields, "content": normal(content)} if isinstance(content, str) else fields


def _digest(value: Any) -> str:
    # Not orjson: it refuses numbers beyond 64 bits, which a payload may hold.
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()
