"""A small topology and records for the router's tests."""

from typing import Any

import orjson

from workers.core.records import Headers, Received
from workers.core.topology.model import Topology

LLM = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}


def topology(**changes: Any) -> Topology:
    fields: dict[str, Any] = {
        "version": 1,
        "routes": [
            {"name": "errors", "when": {"keywords": ["蓝屏", "crash"]}, "to": "llm"},
            {"name": "urgent", "when": {"source": "iot"}, "to": "soon"},
            {"name": "apps", "when": {"source": ["web", "app"]}, "to": "llm"},
        ],
        "targets": {"llm": LLM, "soon": {**LLM, "expires_after": "5s"}},
    }
    return Topology.model_validate({**fields, **changes})


def envelope(message_id: str = "m1", source: str = "web", **payload: Any) -> bytes:
    payload = {"text": "crash", **payload}
    return orjson.dumps(
        {"message_id": message_id, "source": source, "payload": payload, "timestamp": 1_700_000_000}
    )


def received(
    value: bytes | None, offset: int = 0, key: bytes | None = b"k", headers: Headers = ()
) -> Received:
    return Received("model_requests", 3, offset, key, value, headers, 1_700_000_000_000)
