"""What makes two messages the same, and an answer as it is kept for the second of them."""

import hashlib
import json
from typing import Any

import orjson

from workers.core.ports import Answer, Usage


def key_of(source: str, message_id: str, payload: Any) -> str:
    """What makes two messages the same: source, id and payload, in JSON types.

    Two systems may both count from 1, and a producer that reuses an id for another question must not get the answer
    of the first.
    """
    what = [source, message_id, payload]
    try:
        identity = orjson.dumps(what, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # Numbers beyond 64 bits and half surrogate pairs, which a payload may hold.
        identity = json.dumps(what, sort_keys=True, default=str).encode("ascii")
    return hashlib.blake2b(identity, digest_size=16).hexdigest()


def outcome_of(answer: Answer) -> bytes:
    """The answer as it is kept."""
    usage = answer.usage
    return orjson.dumps(
        {
            "text": answer.text,
            "model": answer.model,
            "finish_reason": answer.finish_reason,
            "usage": None
            if usage is None
            else {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.total_tokens,
            },
            "choices": answer.choices,
        }
    )


def answer_of(outcome: bytes) -> Answer:
    """The answer that was kept. Raises `ValueError`, `TypeError`, `KeyError` or `AttributeError` for what is none."""
    fields = orjson.loads(outcome)
    usage = fields.pop("usage")
    return Answer(**fields, usage=Usage(**usage) if usage is not None else None)
